"""The command `tenon`: answers, JSON, standard input, help, and exit codes that tell misuse from failure."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from conftest import shared

import tenon

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
PROGRAM = pathlib.Path(tenon.__file__).parent / "bin" / "tenon"
pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason="this build of the package has no command line tool")


def run(*words, stdin=None, **env):
    return subprocess.run([sys.executable, "-m", "tenon", *map(str, words)], input=stdin, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **env})


def answer(*words, **kwargs):
    done = run(*words, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_teaches():
    text = answer("--help")
    for command in ("info", "classify", "embed", "generate", "train", "quantize", "bench"):
        assert command in text
        assert "Examples\n" in answer(command, "--help")
        assert f"tenon {command}" in answer(command, "-h")
    assert tenon.__version__ in answer("--version")


def test_info_names_kernels_and_checkpoints():
    assert "chosen" in answer("info")
    assert "chosen by TENON_ISA" in answer("info", TENON_ISA="ref")
    text = answer("info", GOLDEN / "bert")
    for part in ("BertForSequenceClassification", "25,539 in 41 tensors", "LABEL_0", "BertTokenizer", "text-classification"):
        assert part in text
    assert "vision_config" in answer("info", GOLDEN / "clip")


def test_classify():
    expected = json.loads((GOLDEN / "pipelines.json").read_text())
    texts, answers = expected["texts"], expected["text-classification"]
    lines = answer("classify", GOLDEN / "bert", "--json", "--top-k", "0", stdin="\n".join(texts) + "\n").splitlines()
    for line, text, labels in zip(map(json.loads, lines), texts, answers, strict=True):
        assert line["input"] == text
        assert [x["label"] for x in line["labels"]] == [x["label"] for x in labels]
        assert [x["score"] for x in line["labels"]] == pytest.approx([x["score"] for x in labels], rel=1e-4)
    assert answer("classify", GOLDEN / "bert", texts[0]).split()[0] == answers[0][0]["label"]
    image = ROOT / "examples" / "data" / "cat.png"
    assert len(answer("classify", GOLDEN / "vit", image, "--top-k=2").splitlines()) == 2
    assert answer("classify", GOLDEN / "clip", image, "--labels", "cat, dog on the mat,rocket").split()[0] == "cat"


def test_embed(tmp_path):
    from tenon import safetensors

    texts = ["shares rose", "the cat sat", "profit falls"]
    rows = [json.loads(line) for line in answer("embed", GOLDEN / "bert", *texts).splitlines()]
    assert [len(r) for r in rows] == [32, 32, 32]
    hits = answer("embed", GOLDEN / "bert", "--query", "the cat sat", "--top-k", 1, "--normalize", stdin="\n".join(texts)).split(maxsplit=1)
    assert hits[1].strip() == "the cat sat" and float(hits[0]) == pytest.approx(1, abs=1e-4)
    file = tmp_path / "vectors.safetensors"
    answer("embed", GOLDEN / "bert", "--out", file, *texts)
    assert safetensors.load_file(str(file))["embeddings"].shape == (3, 32)


def test_train(tmp_path):
    lines = "".join(f"{label}\t{about} {label}\n" for about in ("shares", "the cat", "profit", "a bank") for label in ("rose", "fell"))
    (tmp_path / "labelled.tsv").write_text(lines)
    words = ["train", GOLDEN / "bert", tmp_path / "labelled.tsv", "--output", tmp_path / "tuned"]
    text = answer(*words, "--epochs", "20", "--batch", "4", "--lr", "1e-2", "--schedule", "cosine", "--eval", tmp_path / "labelled.tsv")
    assert "40 steps" in text and "classifier.weight" in text and "accuracy 100.00 % of 8 texts" in text
    assert answer("classify", tmp_path / "tuned", "the cat fell").split()[0] == "fell"
    (tmp_path / "labelled.tsv").write_text(lines + "no label\n")
    failed = run(*words)
    assert failed.returncode == 1 and "line 9" in failed.stderr
    for wrong in (words[:3], [*words, "--lr", "fast"], [*words, "--schedule", "linnear"], [*words, "--epochs", "0"]):
        assert run(*wrong).returncode == 2


def test_bench_prints_a_row_per_precision():
    text = answer("bench", GOLDEN / "bert", "--length", 8, "--repeat", 3, "--precision", "all")
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["float32", "bfloat16", "int8"]


@pytest.mark.parametrize("words, code, part", [
    (["info", "no/such/folder"], 1, "no/such/folder"),
    (["classify", GOLDEN / "bert-mlm", "x"], 1, "fill-mask"),
    (["classify", GOLDEN / "vit", ROOT / "README.md"], 1, "JPEG or PNG"),
    (["classify", GOLDEN / "bert", "x " * 200, "--no-truncation"], 1, "truncation"),
    (["embed", GOLDEN / "bert", "x", "--out", "/no/such/place/file"], 1, "/no/such/place"),
    (["classify"], 2, "folder"),
    (["classify", GOLDEN / "clip", "x.png"], 2, "--labels"),
    (["bench", GOLDEN / "bert", "--batch", "many"], 2, "--batch"),
    (["bench", GOLDEN / "bert", "--precision", "int7"], 2, "int8"),
    (["embed", "--bogus"], 2, "--bogus"),
    (["juggle"], 2, "juggle"),
])
def test_errors_are_one_message_and_a_code(words, code, part):
    done = run(*words, stdin="")
    assert done.returncode == code
    assert part in done.stderr and "terminate" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_an_unknown_instruction_set_is_an_error():
    done = run("info", TENON_ISA="mmx")
    assert done.returncode == 1 and "mmx" in done.stderr


def test_generate():
    model = shared("weights", "stories260K")
    text = answer("generate", model, "--prompt", "Once upon a time", "--max-new-tokens", "20")
    assert text == "Once upon a time, there was a little girl named Lily. She loved to play outsid\n"
    lines = answer("generate", model, "--max-new-tokens=8", "--answer-only", stdin="Tom and Lily\nOnce upon a time\n").splitlines()
    assert lines == [" were playing in the par", ", there was a little girl"]
    drawn = [answer("generate", model, "The dog", "--seed", seed, "--max-new-tokens", "20") for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]
    assert answer("generate", model, "Once", "--stop", "girl").endswith("little girl\n")
    assert answer("generate", model, "Lily and Tom. Lily", "--lookup", "4") == answer("generate", model, "Lily and Tom. Lily")
    assert answer("generate", model, "Once upon a time", "--exact", "--max-new-tokens", "20") == text  # plain weights have exact products
    refused = run("generate", model, "x", "--exact", "--precision", "int8")
    assert refused.returncode == 1 and "exact products: expected float32, bfloat16 or fp8" in refused.stderr
    assert run("generate", model, "x", "--top-p", "much").returncode == 2
    failed = run("generate", model, "x", "--top-p", "7")
    assert failed.returncode == 1 and "top_p" in failed.stderr
    assert run("generate", GOLDEN / "bert", "x").returncode == 1


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """stories260K as a chat model: a story goes on from what the system and the user say."""
    folder = tmp_path_factory.mktemp("chat") / "stories"
    shutil.copytree(shared("weights", "stories260K"), folder)
    template = ("{{ bos_token }}{% for m in messages %}{% if m['role'] not in ('system', 'user') %}{{ raise_exception('who is ' + m['role']) }}"
                "{% endif %}{% if m['content'] == 'refuse' %}{{ raise_exception('I will not') }}{% endif %}{{ m['content'] }} {% endfor %}")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    return folder


def test_generate_chat(talker):
    model, tokenizer = tenon.AutoModelForCausalLM.from_pretrained(talker), tenon.AutoTokenizer.from_pretrained(talker)

    def expected(*messages):
        ids = tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in messages], add_generation_prompt=True, return_tensors="np")
        ids = ids["input_ids"] if hasattr(ids, "keys") else ids
        text = model.generate(ids, max_new_tokens=16, do_sample=False)[0]
        before = tokenizer.decode(text[:ids.shape[1]], skip_special_tokens=True)
        return tokenizer.decode(text, skip_special_tokens=True)[len(before):] + "\n"

    alone = answer("generate", talker, "--chat", "Once upon a time", "--max-new-tokens", "16")
    assert alone == expected(("user", "Once upon a time")) and "Once upon" not in alone
    both = answer("generate", talker, "--chat", "He saw a dog.", "--system", "Tom went to the park.", "--max-new-tokens", "16")
    assert both == expected(("system", "Tom went to the park."), ("user", "He saw a dog."))
    lines = answer("generate", talker, "--chat", "--max-new-tokens=16", stdin="Once upon a time\nHe saw a dog.\n")
    assert lines == alone + expected(("user", "He saw a dog."))
    for words, code, part in ((["x", "--system", "y"], 2, "--chat"), (["--chat", "refuse"], 1, "I will not")):
        failed = run("generate", talker, *words)
        assert failed.returncode == code and part in failed.stderr and failed.stdout == ""
    plain = run("generate", shared("weights", "stories260K"), "--chat", "x")
    assert plain.returncode == 1 and "chat template" in plain.stderr and plain.stdout == ""
    settings = json.loads((talker / "tokenizer_config.json").read_text())
    broken = talker.parent / "broken"
    shutil.copytree(talker, broken)
    (broken / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": "{% for m in messages %}"}))
    failed = run("generate", broken, "--chat", "x")
    assert failed.returncode == 1 and "chat template" in failed.stderr
    assert answer("generate", broken, "Once", "--max-new-tokens", "4")  # a template that cannot be used hinders none but who asks for it


def test_generate_kv_cache():
    model = shared("weights", "stories260K")
    words = ("generate", model, "--prompt", "Once upon a time", "--max-new-tokens", "20")
    text = answer(*words)
    assert answer(*words, "--kv-cache", "auto") == text
    assert answer(*words, "--kv-cache", "int8") == text  # near enough that every token stays
    assert answer(*words, "--kv-cache=int8", "--precision", "bfloat16").startswith("Once upon a time, there was a little girl")
    assert answer(*words, "--kv-cache", "int8", "--beams", "2", "--answer-only").strip()
    failed = run(*words, "--kv-cache", "int3")
    assert failed.returncode == 1 and "kv_cache_dtype: expected auto, int8 or fp8" in failed.stderr and failed.stdout == ""
    assert run(*words, "--kv-cache").returncode == 2


def test_generate_mtp(tmp_path):
    refused = run("generate", shared("weights", "stories260K"), "x", "--mtp")
    assert refused.returncode == 1 and "use_mtp" in refused.stderr and "deepseek_v3" in refused.stderr
    source = GOLDEN / "deepseek-v3"
    if not (source / "model.safetensors").exists():
        pytest.skip("there is no golden case deepseek-v3")
    folder = tmp_path / "deepseek"
    shutil.copytree(source, folder)
    # A tokenizer of as many tokens as the model has: a word for each.
    vocab = {f"w{i}": i for i in range(tenon.AutoConfig.from_pretrained(folder).vocab_size)}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "truncation": None, "padding": None, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}}))
    config = json.loads((folder / "config.json").read_text())
    config.update(num_nextn_predict_layers=1, initializer_range=0.2, eos_token_id=None)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text("{}")
    missing = run("generate", folder, "w5 w17", "--mtp")
    assert missing.returncode == 1 and "eh_proj" in missing.stderr
    tenon.manual_seed(5)
    block = tenon.modeling.model_class("DeepseekV3MtpModel")(tenon.AutoConfig.from_pretrained(folder))
    weights = {**tenon.safetensors.load_file(folder / "model.safetensors"), **block.state_dict()}
    tenon.safetensors.save_file(weights, folder / "model.safetensors")
    words = ("generate", folder, "w5 w17 w29", "--max-new-tokens", "24")
    text = answer(*words)
    assert len(text.split()) > 10 and answer(*words, "--mtp") == text
    assert answer(*words, "--seed", "3", "--mtp") == answer(*words, "--seed", "3")
    assert answer(*words, "--mtp", "--kv-cache", "int8").split()[:3] == ["w5", "w17", "w29"]
