"""LoRA with PEFT's names and files: the golden case, training, switching, merging, files of every kind, adapters that do not fit."""
import copy
import io
import json
import contextlib

import numpy as np
import pytest

import tenon
import tenon.peft as peft
from conftest import GOLDEN, TINY
from tenon.safetensors import load_file, save_file

IDS = [[5, 9, 23, 41, 7, 66], [8, 8, 13, 90, 31, 12]]


def llama(**kwargs):
    return tenon.AutoModelForCausalLM.from_pretrained(GOLDEN / "llama", **kwargs)


def tiny(model_type, **kwargs):
    """A model of each kind for the adapters' tests, and what to feed it."""
    tenon.manual_seed(11)
    sizes = dict(TINY, vocab_size=100, max_position_embeddings=64)
    seq2seq = dict(vocab_size=100, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0, feed_forward_proj="gated-gelu")
    made = {
        "bert": lambda: tenon.BertForSequenceClassification(tenon.BertConfig(**sizes, num_labels=3)),
        "distilbert": lambda: tenon.DistilBertForSequenceClassification(
            tenon.DistilBertConfig(vocab_size=100, dim=32, hidden_dim=64, n_layers=2, n_heads=4, initializer_range=0.2)),
        "gpt2": lambda: tenon.GPT2LMHeadModel(
            tenon.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)),
        "mixtral": lambda: tenon.MixtralForCausalLM(
            tenon.MixtralConfig(**sizes, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)),
        "t5": lambda: tenon.T5ForConditionalGeneration(tenon.T5Config(**seq2seq)),
        "llama": lambda: tenon.LlamaForCausalLM(tenon.LlamaConfig(**sizes, num_key_value_heads=2)),
    }[model_type]()
    made.eval()
    return made


def call(model, **kwargs):
    if getattr(model.config, "is_encoder_decoder", False):
        kwargs["decoder_input_ids"] = [[0, 4, 6], [0, 9, 2]]
    with tenon.no_grad():
        return model(input_ids=IDS, **kwargs).logits.numpy()


def shake(model, scale=0.2):
    """Gives everything that is trained other values, so that adapters act."""
    rng = np.random.default_rng(3)
    with tenon.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(tenon.tensor(rng.normal(size=tuple(p.shape)).astype(np.float32) * scale))
    return model


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_golden_logits(precision):
    kwargs = {"quantization_config": tenon.Int8Config()} if precision == "int8" else {"dtype": precision}
    model = peft.PeftModel.from_pretrained(llama(**kwargs), GOLDEN / "llama-lora")
    want = load_file(GOLDEN / "llama-lora" / "outputs.safetensors")["logits"].numpy()
    tolerance = {"float32": 1e-4, "bfloat16": 0.06, "int8": 0.1}[precision]
    assert np.abs(call(model) - want).max() <= tolerance * np.abs(want).max()
    assert isinstance(model, peft.PeftModelForCausalLM) and model.active_adapters == ["default"] and not model.training


def test_golden_gradients():
    model = peft.PeftModel.from_pretrained(llama(), GOLDEN / "llama-lora", is_trainable=True)
    meta = json.loads((GOLDEN / "llama-lora" / "meta.json").read_text())
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    assert abs(loss.item() - meta["loss"]) < 1e-5 * meta["loss"]
    grads = load_file(GOLDEN / "llama-lora" / "grads.safetensors")
    got = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(got) == set(grads)  # the base model's parameters want none
    for name, want in grads.items():
        assert np.abs(got[name].numpy() - want.numpy()).max() <= 1e-3 * np.abs(want.numpy()).max(), name


def test_names_and_numbers():
    model = tenon.get_peft_model(llama(), tenon.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"]))
    names = [name for name, _ in model.named_parameters()]
    assert "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight" in names
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight" in names
    assert "base_model.model.model.embed_tokens.weight" in names
    trained, all_of_them = model.get_nb_trainable_parameters()
    assert trained == 2 * 4 * ((32 + 32) + (32 + 16)) and all_of_them == trained + llama().num_parameters()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        model.print_trainable_parameters()
    assert said.getvalue() == f"trainable params: {trained:,d} || all params: {all_of_them:,d} || trainable%: {100 * trained / all_of_them:.4f}\n"
    assert model.config.hidden_size == 32 and model.peft_config["default"].r == 4
    assert set(model.state_dict()) == set(names)
    assert list(peft.get_peft_model_state_dict(model))[0] == "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "distilbert", "mixtral", "t5"])
def test_every_family_saved_opened_merged(kind, tmp_path):
    task = {"bert": "SEQ_CLS", "distilbert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}.get(kind, "CAUSAL_LM")
    base = tiny(kind)
    before = call(base)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type=task, r=4, lora_alpha=8, target_modules="all-linear"))
    assert task == "SEQ_CLS" or np.array_equal(call(model), before)  # B starts as zero
    shake(model)
    with_adapter = call(model)
    assert np.abs(with_adapter - before).max() > 1e-2
    with model.disable_adapter():
        assert np.allclose(call(model), before, atol=1e-5)
    model.save_pretrained(tmp_path)
    other = peft.PeftModel.from_pretrained(tiny(kind), tmp_path)
    assert type(other) is type(model) and np.allclose(call(other), with_adapter, atol=1e-5)
    assert not any(p.requires_grad for p in other.parameters())
    other.merge_adapter()
    assert np.allclose(call(other), with_adapter, atol=1e-4 * np.abs(with_adapter).max())
    other.unmerge_adapter()
    with other.disable_adapter():
        assert np.array_equal(call(other), before)
    merged = model.merge_and_unload()
    assert merged is base and np.allclose(call(merged), with_adapter, atol=1e-4 * np.abs(with_adapter).max())
    merged.save_pretrained(tmp_path / "merged")
    again = type(base).from_pretrained(tmp_path / "merged")
    assert np.allclose(call(again), with_adapter, atol=1e-4 * np.abs(with_adapter).max())
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in base.named_parameters()]


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_training_moves_the_adapter_alone(kind):
    base = tiny(kind)
    weights = {n: p.numpy().copy() for n, p in base.named_parameters()}
    task = "CAUSAL_LM" if kind == "llama" else "SEQ_CLS"
    model = peft.get_peft_model(base, peft.LoraConfig(task_type=task, r=4, lora_alpha=16, lora_dropout=0.05))
    optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    labels = IDS if kind == "llama" else [2, 0]
    model.train()
    losses = []
    for _ in range(15):
        loss = model(input_ids=IDS, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    model.eval()
    trained = call(model)
    with model.disable_adapter():
        assert np.abs(call(model) - trained).max() > 1e-3
    for name, value in weights.items():
        assert np.array_equal(dict(base._tensors())[name].numpy(), value), name
    assert all(p.grad is None for p in base._tensors().values())


def test_several_adapters_switched_combined_and_deleted(tmp_path):
    model = peft.get_peft_model(llama(), peft.LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False), adapter_name="a")
    model.add_adapter("b", peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False))
    a = call(model)
    model.set_adapter("b")
    b = call(model)
    assert model.active_adapter == "b" and np.abs(a - b).max() > 1e-3
    assert {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad} == {"b"}
    model.save_pretrained(tmp_path)
    assert (tmp_path / "a" / "adapter_config.json").exists() and (tmp_path / "b" / "adapter_model.safetensors").exists()
    model.load_adapter(tmp_path / "a", adapter_name="again")
    model.set_adapter("again")
    assert np.allclose(call(model), a, atol=1e-6)
    model.base_model.set_adapter(["a", "b"])
    both = call(model)
    for combination in ("cat", "svd"):
        model.add_weighted_adapter(["a", "b"], [1.0, 1.0], f"sum_{combination}", combination_type=combination, svd_rank=6)
        model.set_adapter(f"sum_{combination}")
        assert np.allclose(call(model), both, atol=1e-4 * np.abs(both).max())
    model.add_weighted_adapter(["a", "again"], [0.25, 0.75], "mean", combination_type="linear")
    with pytest.raises(ValueError, match="rank"):
        model.add_weighted_adapter(["a", "b"], [1, 1], "x", combination_type="linear")
    model.set_adapter("a")
    model.delete_adapter("a")
    assert "a" not in model.peft_config and model.active_adapters != ["a"]
    with pytest.raises(ValueError, match="'a'"):
        model.set_adapter("a")


def test_modules_to_save_and_biases(tmp_path):
    base = tiny("bert")
    before = call(base)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], bias="lora_only")
    model = shake(peft.get_peft_model(base, config))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert "base_model.model.classifier.modules_to_save.default.weight" in names
    assert config.modules_to_save == ["classifier", "score"]
    changed = call(model)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.classifier.weight" in stored
    assert "base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.bias" in stored
    other = peft.AutoPeftModelForSequenceClassification
    with pytest.raises(ValueError, match="base_model_name_or_path"):
        other.from_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    assert np.allclose(call(again), changed, atol=1e-5)
    with again.disable_adapter():
        assert np.array_equal(call(again), before)
    twin = copy.deepcopy(model)
    assert np.allclose(call(twin), changed, atol=1e-5) and twin.get_base_model() is not base


def test_auto_classes_open_an_adapter(tmp_path):
    model = shake(peft.get_peft_model(llama(), peft.LoraConfig(task_type="CAUSAL_LM", r=4)))
    want = call(model)
    model.save_pretrained(tmp_path)
    assert np.allclose(call(peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path)), want, atol=1e-5)
    plain = tenon.AutoModelForCausalLM.from_pretrained(tmp_path)  # as Transformers: the model's own class, the adapter within
    assert type(plain).__name__ == "LlamaForCausalLM" and plain.active_adapters() == ["default"]
    assert np.allclose(call(plain), want, atol=1e-5)
    plain.disable_adapters()
    assert np.array_equal(call(plain), call(llama()))
    plain.enable_adapters()
    plain.save_pretrained(tmp_path / "again")
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    golden = load_file(GOLDEN / "llama-lora" / "outputs.safetensors")["logits"].numpy()
    assert np.allclose(call(tenon.AutoModelForCausalLM.from_pretrained(GOLDEN / "llama-lora")), golden, atol=1e-3)
    with pytest.raises(ValueError, match="SEQ_CLS"):
        peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path)


def test_generate_with_an_adapter():
    model = peft.PeftModel.from_pretrained(llama(), GOLDEN / "llama-lora")
    ids = model.generate(input_ids=IDS, max_new_tokens=5, do_sample=False)
    merged = peft.PeftModel.from_pretrained(llama(), GOLDEN / "llama-lora").merge_and_unload()
    assert ids.tolist() == merged.generate(IDS, max_new_tokens=5, do_sample=False).tolist()
    with model.disable_adapter():
        plain = model.generate(input_ids=IDS, max_new_tokens=5, do_sample=False)
    assert plain.tolist() == llama().generate(IDS, max_new_tokens=5, do_sample=False).tolist()


def test_pipelines_take_adapters(checkpoints, tokenizer, tmp_path):
    base = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    model = shake(peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=4)), 0.5)
    model.eval()
    text = "the cat sat on the mat"

    def scores(**kwargs):
        return {r["label"]: r["score"] for r in tenon.pipeline(**kwargs)(text, top_k=None)}

    want = scores(task="text-classification", model=model, tokenizer=tokenizer)
    model.save_pretrained(tmp_path)
    for task in ("text-classification", None):  # the folder names the model, which has the tokenizer
        assert scores(task=task, model=str(tmp_path)) == pytest.approx(want, rel=1e-4)
    assert scores(task=None, model=model, tokenizer=tokenizer) == pytest.approx(want, rel=1e-4)
    assert scores(task="text-classification", model=checkpoints["classifier"]) != pytest.approx(want, rel=1e-2)


def test_configurations(tmp_path):
    config = peft.LoraConfig(r=16, target_modules=["v_proj", "q_proj"], task_type=peft.TaskType.CAUSAL_LM, rank_pattern={"q_proj": 2})
    config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert stored["target_modules"] == ["q_proj", "v_proj"] and stored["peft_type"] == "LORA" and stored["task_type"] == "CAUSAL_LM"
    (tmp_path / "adapter_config.json").write_text(json.dumps({**stored, "field_of_tomorrow": 1}))
    again = peft.PeftConfig.from_pretrained(tmp_path)
    assert isinstance(again, peft.LoraConfig) and again.r == 16 and again.target_modules == {"q_proj", "v_proj"}
    assert again.to_dict()["field_of_tomorrow"] == 1
    assert isinstance(peft.get_peft_config({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}), peft.PrefixTuningConfig)
    for bad in ({"peft_type": "LOHA"}, {"peft_type": "LORA", "task_type": "SOMETHING"}):
        with pytest.raises(ValueError):
            peft.get_peft_config(bad)


@pytest.mark.parametrize("change, match", [
    ({"use_dora": True}, "use_dora"), ({"init_lora_weights": "pissa"}, "pissa"), ({"r": 0}, "r: expected"), ({"bias": "some"}, "bias"),
    ({"target_modules": ["embed_tokens"]}, "modules_to_save"), ({"target_modules": ["nothing"]}, "nothing"), ({"target_modules": "(q"}, "q"),
    ({"lora_dropout": 1.5}, "lora_dropout"), ({"trainable_token_indices": [1]}, "trainable_token_indices")])
def test_what_is_refused(change, match):
    base = llama()
    with pytest.raises((ValueError, TypeError), match=match):
        peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ["q_proj"], **change}))
    assert np.array_equal(call(base), call(llama()))


def test_adapters_of_another_architecture_and_damaged_ones(tmp_path):
    shake(peft.get_peft_model(tiny("bert"), peft.LoraConfig(r=2))).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="query"):
        peft.PeftModel.from_pretrained(llama(), tmp_path / "bert")
    folder = tmp_path / "llama"
    peft.get_peft_model(llama(), peft.LoraConfig(task_type="CAUSAL_LM", r=2)).save_pretrained(folder)
    tensors = {k: v.numpy() for k, v in load_file(folder / "adapter_model.safetensors").items()}
    first = next(iter(tensors))
    for wrong, match in (({**tensors, first: tensors[first][:1]}, first.split(".")[-3]),
                         ({**tensors, "base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": tensors[first]}, "layers.7.mlp.up_proj"),
                         ({**tensors, "base_model.model.visual.weight": tensors[first]}, "visual.weight")):
        save_file(wrong, folder / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=match):
            peft.PeftModel.from_pretrained(llama(), folder)
    save_file({k: v for k, v in tensors.items() if k != first}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="one of them"):
        peft.PeftModel.from_pretrained(llama(), folder)
    save_file({k: v for k, v in tensors.items() if k.split(".lora_")[0] != first.split(".lora_")[0]}, folder / "adapter_model.safetensors")
    with pytest.warns(UserWarning, match="missing adapter keys"):
        peft.PeftModel.from_pretrained(llama(), folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    for text in ("", "[]", "{\"peft_type\": \"LORA\", \"r\": []}", "{\"peft_type\": {}}"):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises((ValueError, TypeError)):
            peft.PeftModel.from_pretrained(llama(), folder)
    with pytest.raises(FileNotFoundError):
        peft.PeftModel.from_pretrained(llama(), tmp_path / "nowhere")
