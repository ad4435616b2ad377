"""generate(): options and their sources, processors, criteria, streamers, outputs; recorded generations; pipelines that write."""
import json
import signal
import threading

import pytest
from conftest import SHARED, shared

import tenon
from tenon import GenerationConfig, pipeline

TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, initializer_range=0.4)
SPECIAL = dict(bos_token_id=2, eos_token_id=3, pad_token_id=0)


@pytest.fixture(scope="module")
def model(tokenizer):
    tenon.manual_seed(5)
    return tenon.LlamaForCausalLM(tenon.LlamaConfig(**TINY, **SPECIAL, vocab_size=len(tokenizer), max_position_embeddings=4096))


@pytest.fixture(scope="module")
def teller():
    folder = str(shared("weights", "stories260K"))
    return tenon.AutoModelForCausalLM.from_pretrained(folder), tenon.AutoTokenizer.from_pretrained(folder)


def ids(model, prompt=((7, 8, 9),), **options):
    return model.generate(tenon.tensor([list(row) for row in prompt]), **options).tolist()


def test_recorded_generations():
    folders = [p.parent for p in (SHARED / "golden" / "cases").glob("*/meta.json") if "generate" in json.loads(p.read_text())]
    if not folders:
        pytest.skip("no case has recorded generations")
    known = {row[0] for row in tenon._core.registry()}
    for folder in folders:
        meta = json.loads((folder / "meta.json").read_text())
        if json.loads((folder / "config.json").read_text())["model_type"] not in known:
            continue
        model = getattr(tenon, meta["model_class"]).from_pretrained(folder)
        inputs = tenon.safetensors.load_file(folder / "inputs.safetensors")
        for g in meta["generate"]:
            answer = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], **g["arguments"])
            assert answer.tolist() == g["sequences"], (folder.name, g["arguments"])


def test_the_published_story(teller):
    model, tokenizer = teller
    published = json.loads(shared("weights", "stories260K", "golden.json").read_text())
    answer = model.generate(max_length=len(published["ids_from_bos"]))[0]
    assert answer.tolist() == published["ids_from_bos"] and tokenizer.decode(answer, skip_special_tokens=True) == published["expected_text"]


def test_options_come_from_the_caller_a_config_and_the_checkpoint(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text()) == SPECIAL
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": 5, "eos_token_id": [3, 99], "note": "kept"}))
    opened = tenon.AutoModelForCausalLM.from_pretrained(tmp_path)
    config = opened.generation_config
    assert (config.max_new_tokens, config.eos_token_id, config.bos_token_id, config.note, config.temperature) == (5, [3, 99], 2, "kept", None)
    assert len(ids(opened, eos_token_id=None)[0]) == 8
    assert len(ids(opened, max_new_tokens=2)[0]) == 5
    assert len(ids(opened, generation_config=GenerationConfig(max_new_tokens=3, eos_token_id=98))[0]) == 6
    config.max_new_tokens = 4
    opened.save_pretrained(tmp_path / "again")
    assert GenerationConfig.from_pretrained(tmp_path / "again").max_new_tokens == 4
    assert GenerationConfig.from_pretrained(tmp_path / "again") == config and config.update(top_k=3, other=1) == {"other": 1}
    assert config.top_k == 3 and '"top_k": 3' in repr(config)


def test_what_is_refused_is_named(model):
    for options, error, part in (({"foo": 1}, TypeError, "foo"), ({"top_p": 0.0}, ValueError, "top_p"), ({"max_length": 2}, ValueError, "max_length"),
                                 ({"num_return_sequences": 2}, ValueError, "num_return_sequences"), ({"penalty_alpha": 0.6}, ValueError, "penalty_alpha"),
                                 ({"stop_strings": "x"}, ValueError, "tokenizer"), ({"past_key_values": ((1, 2),)}, TypeError, "past_key_values"),
                                 ({"num_beams": 2, "streamer": Recorder()}, ValueError, "streamer"), ({"max_new_tokens": "many"}, TypeError, "max_new_tokens"),
                                 ({"input_ids": tenon.tensor([[1]])}, ValueError, "twice"), ({"do_sample": True, "temperature": 0.0}, ValueError, "temperature")):
        with pytest.raises(error, match=part):
            ids(model, **options)
    with pytest.raises(ValueError, match="prompt 0 is empty"):
        model.generate([[]], max_new_tokens=2)
    with pytest.raises(ValueError, match="token id"):
        ids(model, prompt=[[len(model.get_input_embeddings().weight)]])
    with pytest.raises(ValueError, match="top_p"):
        GenerationConfig(top_p=2.0)
    encoder = tenon.BertModel(tenon.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
    assert not encoder.can_generate() and model.can_generate()
    with pytest.raises(TypeError, match="generate"):
        encoder.generate(tenon.tensor([[1]]), max_new_tokens=1)


def test_rope_types_are_checked():
    for scaling, part in (({"rope_type": "spiral"}, "spiral"), ({"rope_type": "yarn"}, "factor"), ({"type": "linear"}, "factor"), ([1], "object")):
        with pytest.raises(ValueError, match=part):
            tenon.LlamaForCausalLM(tenon.LlamaConfig(**TINY, vocab_size=9, rope_scaling=scaling))
    stretched = {"rope_type": "yarn", "original_max_position_embeddings": 16}
    tenon.LlamaForCausalLM(tenon.LlamaConfig(**TINY, vocab_size=9, max_position_embeddings=64, rope_scaling=stretched))


def test_padding_does_not_matter(model):
    rows = [[7, 8, 9, 10, 11], [0, 0, 12, 13, 14]]
    together = ids(model, rows, max_new_tokens=8, eos_token_id=None)
    assert together[0] == ids(model, rows[:1], max_new_tokens=8, eos_token_id=None)[0]
    assert together[1][2:] == ids(model, [rows[1][2:]], max_new_tokens=8, eos_token_id=None)[0]
    mask = tenon.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    assert model.generate(tenon.tensor(rows), attention_mask=mask, max_new_tokens=8, eos_token_id=None).tolist() == together


class Odd(tenon.LogitsProcessor):
    def __call__(self, input_ids, scores):
        assert input_ids.shape[0] == scores.shape[0]
        changed = scores.numpy().copy()
        changed[:, ::2] = -float("inf")
        return changed


def test_processors_criteria_and_allowed_tokens(model):
    odd = ids(model, max_new_tokens=6, logits_processor=tenon.LogitsProcessorList([Odd()]), eos_token_id=None)[0][3:]
    assert len(odd) == 6 and all(t % 2 for t in odd)
    beams = ids(model, max_new_tokens=6, logits_processor=[Odd()], num_beams=2, eos_token_id=None)[0][3:]
    assert all(t % 2 for t in beams)
    seen = []
    stop = tenon.StoppingCriteriaList([lambda i, s, **k: seen.append(s) or i.shape[1] >= 7])
    assert len(ids(model, max_new_tokens=50, stopping_criteria=stop, eos_token_id=None)[0]) == 7 and seen == [None] * 4
    only = ids(model, max_new_tokens=5, prefix_allowed_tokens_fn=lambda i, s: [20 + int(s[-1]) % 2, 30], eos_token_id=None)[0][3:]
    assert set(only) <= {20, 21, 30}
    with pytest.raises(ValueError, match="logits processor"):
        ids(model, logits_processor=[lambda i, s: s[:, :3]])
    with pytest.raises(ZeroDivisionError):
        ids(model, logits_processor=[lambda i, s: 1 / 0])
    assert ids(model, max_new_tokens=6, bad_words_ids=[[odd[0]]], sequence_bias={(20,): 100.0}, eos_token_id=None)[0][3:] == [20] * 6


def test_sampling_follows_the_seed(model):
    def draw(seed):
        tenon.manual_seed(seed)
        return ids(model, do_sample=True, max_new_tokens=12, num_return_sequences=3, top_k=0, temperature=2.0, eos_token_id=None)

    first = draw(1)
    assert first == draw(1) != draw(2) and len({tuple(row) for row in first}) == 3
    tenon.manual_seed(1)
    assert ids(model, do_sample=True, max_new_tokens=12, temperature=2.0) != ids(model, do_sample=True, max_new_tokens=12, temperature=2.0)


def test_outputs(model):
    options = dict(max_new_tokens=5, return_dict_in_generate=True, output_scores=True, eos_token_id=None)
    plain = model.generate(tenon.tensor([[7, 8, 9]]), output_logits=True, **options)
    assert type(plain) is tenon.GenerateDecoderOnlyOutput and plain.sequences.shape == (1, 8) and plain.hidden_states is None
    assert len(plain.scores) == len(plain.logits) == 5 and plain.scores[0].argmax().item() == plain.sequences[0, 3].item()
    assert plain.logits[2].tolist() == model(plain.sequences[:, :5]).logits[:, -1].tolist() or plain.logits[2].numpy() == pytest.approx(
        model(plain.sequences[:, :5]).logits[:, -1].numpy(), rel=1e-4, abs=1e-5)
    beams = model.generate(tenon.tensor([[7, 8, 9]]), num_beams=3, num_return_sequences=2, **options)
    assert type(beams) is tenon.GenerateBeamDecoderOnlyOutput and beams.beam_indices.shape == (2, 5)
    steps = model.compute_transition_scores(beams.sequences, beams.scores, beams.beam_indices)
    assert (steps.sum(1) / 5).tolist() == pytest.approx(beams.sequences_scores.tolist(), rel=1e-4)
    assert "sequences_scores" not in model.generate(tenon.tensor([[7]]), num_beams=2, max_new_tokens=2, return_dict_in_generate=True)


class Recorder:
    def __init__(self):
        self.parts, self.ended = [], 0

    def put(self, value):
        self.parts.append(value.tolist())

    def end(self):
        self.ended += 1


def test_streamers(model, teller):
    streamer = Recorder()
    answer = ids(model, max_new_tokens=4, streamer=streamer, eos_token_id=None)[0]
    assert streamer.parts == [[[7, 8, 9]], *([t] for t in answer[3:])] and streamer.ended == 1
    with pytest.raises(ZeroDivisionError):
        ids(model, streamer=streamer, logits_processor=[lambda i, s: 1 / 0])
    assert streamer.ended == 2
    teller, tokenizer = teller
    text = tenon.TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60)
    inputs = tokenizer("Once upon a time", return_tensors="pt")
    thread = threading.Thread(target=teller.generate, kwargs=dict(inputs, max_new_tokens=30, streamer=text))
    thread.start()
    pieces = list(text)
    thread.join()
    assert "".join(pieces).strip().startswith(", there was a little girl named Lily.") and len(pieces) > 10


def test_speculation_changes_nothing(teller):
    model, tokenizer = teller
    inputs = tokenizer("Lily and Tom. Lily and Tom. Lily", return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=40).tolist()
    assert model.generate(**inputs, max_new_tokens=40, prompt_lookup_num_tokens=5).tolist() == plain
    assert model.generate(**inputs, max_new_tokens=40, assistant_model=model).tolist() == plain
    tenon.manual_seed(3)
    sampled = model.generate(**inputs, max_new_tokens=40, do_sample=True).tolist()
    tenon.manual_seed(3)
    assert model.generate(**inputs, max_new_tokens=40, do_sample=True, prompt_lookup_num_tokens=5).tolist() == sampled
    with pytest.raises(ValueError, match="one text"):
        model.generate(**inputs, prompt_lookup_num_tokens=5, num_beams=2)


def test_cache_of_bytes(teller):
    model, tokenizer = teller
    inputs = tokenizer("Once upon a time", return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=30).tolist()[0]
    for options in ({"cache_implementation": "quantized"}, {"kv_cache_dtype": "int8"}, {"kv_cache_dtype": "fp8"}):
        small = model.generate(**inputs, max_new_tokens=30, **options).tolist()[0]
        assert small[:12] == plain[:12]
    assert model.generate(**inputs, max_new_tokens=30, cache_implementation="static").tolist()[0] == plain
    with pytest.raises(ValueError, match="cache_implementation"):
        model.generate(**inputs, cache_implementation="tiny")
    with pytest.raises(ValueError, match="kv_cache_dtype"):
        tenon.GenerationConfig(kv_cache_dtype="int3")
    for kind in ("int8", "fp8"):
        with tenon.Engine(model, tokenizer, kv_cache_dtype=kind) as engine:
            answer = engine.submit("Once upon a time", max_new_tokens=12).result()
            assert answer.tokens[:6] == plain[len(inputs["input_ids"][0]):][:6]
    with pytest.raises(ValueError, match="auto, int8 or fp8"):
        tenon.Engine(model, tokenizer, kv_cache_dtype="int3")


def test_threads_generate_at_once(model):
    expected = [ids(model, [[i, i + 1]], max_new_tokens=20, eos_token_id=None) for i in range(5, 9)]
    answers = [None] * 4

    def work(k):
        answers[k] = ids(model, [[k + 5, k + 6]], max_new_tokens=20, eos_token_id=None)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == expected


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_ends_generation(model):
    def ring(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError):
            ids(model, max_new_tokens=4000, eos_token_id=None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_text_generation_pipeline(teller):
    model, tokenizer = teller
    p = pipeline("text-generation", model=model, tokenizer=tokenizer, do_sample=False, max_new_tokens=8)
    assert p("Tom and Lily") == [{"generated_text": "Tom and Lily were playing in the par"}]
    assert p(["Tom and Lily", "Once upon a time", ""], return_full_text=False) == [
        [{"generated_text": " were playing in the par"}], [{"generated_text": ", there was a little girl"}], [{"generated_text": "Once upon a time, there was a"}]]
    assert p("Once", max_new_tokens=50, stop_sequence="little")[0]["generated_text"].endswith("little")
    assert p("Once", return_tensors=True)[0]["generated_token_ids"][-1] > 0
    tenon.manual_seed(4)
    sampled = pipeline("text-generation", model=str(shared("weights", "stories260K")))("The dog", max_new_tokens=12, num_return_sequences=2)
    assert len(sampled) == 2 and sampled[0] != sampled[1] and all(s["generated_text"].startswith("The dog") for s in sampled)
    for wrong in ({"foo": 1}, {"return_full_text": True, "return_tensors": True}):
        with pytest.raises((TypeError, ValueError)):
            p("x", **wrong)
    with pytest.raises(ValueError, match="a text or a chat"):
        p([3])


def test_chats(teller):
    pytest.importorskip("jinja2")
    model, tokenizer = teller
    p = pipeline("text-generation", model=model, tokenizer=tokenizer, do_sample=False, max_new_tokens=6)
    template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    before, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        chat = [{"role": "user", "content": "Once upon a time"}]
        answer = p(chat)[0]["generated_text"]
        assert answer[0] == chat[0] and answer[1]["role"] == "assistant" and len(answer) == 2
        assert len(p([chat, chat])) == 2
    finally:
        tokenizer.chat_template = before


def test_translation_pipeline(tokenizer):
    tenon.manual_seed(2)
    sizes = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16)
    config = tenon.MarianConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=0, eos_token_id=3, decoder_start_token_id=0,
                                forced_eos_token_id=3, init_std=0.5)
    p = pipeline("translation", model=tenon.MarianMTModel(config), tokenizer=tokenizer, max_new_tokens=6)
    one = p("the cat sat")
    assert list(one[0]) == ["translation_text"] and p(["the cat sat", "a dog"])[0] == one[0]
    assert len(p("the cat sat", num_beams=2, num_return_sequences=2)) == 2
    led = p("the cat sat", tgt_lang="dog", return_tensors=True)[0]["translation_token_ids"]
    assert led[1] == tokenizer.convert_tokens_to_ids("dog")
    with pytest.raises(ValueError, match="tgt_lang"):
        p("the cat sat", tgt_lang="klingon")
    assert list(pipeline("summarization", model=p.model, tokenizer=tokenizer)("the cat", max_new_tokens=3)[0]) == ["summary_text"]
