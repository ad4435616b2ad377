"""quantize(): a folder in, a quantised one out, which opens again; its report; bad input."""
import json
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest

import tenon
from tenon import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = "the market rose fell bank profit after report a sharply company said of and in shares".split()


def text(lines):
    draw = random.Random(1)
    return "\n".join(" ".join(draw.choice(WORDS) for _ in range(12)) for _ in range(lines))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    tenon.set_seed(0)
    root = tmp_path_factory.mktemp("models")
    tokenizer = tenon.train_tokenizer([text(50)], kind="bpe", vocab_size=300, special_tokens=["<|endoftext|>"])
    sizes = dict(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=64, initializer_range=0.1)
    models = {"llama": LlamaForCausalLM(LlamaConfig(**sizes)), "mixtral": MixtralForCausalLM(MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **sizes))}
    for name, model in models.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


def logits(folder, **kwargs):
    model = AutoModelForCausalLM.from_pretrained(folder, **kwargs)
    with tenon.no_grad():
        return model(input_ids=np.arange(40).reshape(2, 20)).logits.numpy()


@pytest.mark.parametrize("name", ["llama", "mixtral"])
@pytest.mark.parametrize("method", ["awq", "gptq", "int8"])
def test_quantize_and_open(folders, name, method, tmp_path):
    report = tenon.quantize(folders / name, tmp_path / "out", text(100), method=method, group_size=32, n_samples=8, max_calib_seq_len=32, held_out_windows=4,
                            disable_tqdm=True)
    assert report.bytes_after < 0.6 * report.bytes_before  # embeddings and head stay
    assert report.perplexity_after == pytest.approx(report.perplexity_before, rel=0.2)
    assert len(report.errors) == 2
    assert all(name.endswith("gate") for name in report.left)
    assert len(report.left) == (2 if name == "mixtral" else 0)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == {"awq": "awq", "gptq": "gptq", "int8": "compressed-tensors"}[method]
    before, after = logits(folders / name), logits(tmp_path / "out")
    assert 0 < np.linalg.norm(after - before) < 0.5 * np.linalg.norm(before)


def test_exact_products_reach_pipelines_and_the_command_line(folders, tmp_path):
    tenon.quantize(folders / "llama", tmp_path / "out", text(20), method="rtn", group_size=32, disable_tqdm=True)
    few, exact = logits(tmp_path / "out"), logits(tmp_path / "out", exact=True)
    assert 0 < np.abs(few - exact).max() < 0.1 * np.abs(exact).max()
    ask = dict(max_new_tokens=4, do_sample=False)
    ids = tenon.AutoTokenizer.from_pretrained(tmp_path / "out")("the market rose", return_tensors="np")["input_ids"]
    for how in (True, False):
        generator = tenon.pipeline("text-generation", tmp_path / "out", exact=how)
        inside = generator.model(input_ids=ids).logits.numpy()
        assert np.array_equal(inside, AutoModelForCausalLM.from_pretrained(tmp_path / "out", exact=how)(input_ids=ids).logits.numpy())
        written = generator("the market rose", **ask)[0]["generated_text"]
        command = [sys.executable, "-m", "tenon", "generate", str(tmp_path / "out"), "the market rose", "--max-new-tokens", "4", "--greedy"]
        done = subprocess.run(command + ["--exact"] * how, capture_output=True, text=True)
        if (pathlib.Path(tenon.__file__).parent / "bin" / "tenon").is_file():
            assert done.returncode == 0 and done.stdout.rstrip("\n") == written.rstrip("\n"), done.stderr
    with pytest.raises(ValueError, match="exact: expected with a folder"):
        tenon.pipeline("text-generation", generator.model, tokenizer=generator.tokenizer, exact=True)


def test_files_formats_and_layers_left(folders, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(text(100), encoding="utf-8")
    report = tenon.quantize(folders / "llama", tmp_path / "out", path, group_size=64, format="compressed-tensors", n_samples=4, max_calib_seq_len=32,
                            modules_to_not_convert=["v_proj"], held_out=[text(20)], held_out_windows=2, disable_tqdm=True)
    assert report.left["model.layers.0.self_attn.v_proj"] == "left on request"
    assert "multiple of the group size 64" in report.left["model.layers.1.mlp.down_proj"]
    ignored = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["ignore"]
    assert set(report.left) <= set(ignored)
    plain = tenon.quantize(folders / "llama", tmp_path / "rtn", method="rtn", group_size=32, disable_tqdm=True)
    assert plain.perplexity_before is None and not plain.errors[0] > 0


@pytest.mark.parametrize("kwargs, error, message", [
    ({"method": "q4_0"}, ValueError, "awq, gptq"),
    ({"group_size": 20}, ValueError, "multiple of 32"),
    ({"calib_data": "the bank"}, ValueError, "at least 32 tokens"),
    ({"calib_data": None}, ValueError, "expected text"),
    ({"calib_data": [1, 2]}, TypeError, "got int"),
    ({"format": "gguf"}, ValueError, "gguf"),
    ({"smooth": 2.0, "method": "int8"}, ValueError, "0 to 1"),
])
def test_bad_input(folders, tmp_path, kwargs, error, message):
    given = {"calib_data": text(50), "disable_tqdm": True, **kwargs}
    with pytest.raises(error, match=message):
        tenon.quantize(folders / "llama", tmp_path / "out", given.pop("calib_data"), **given)


def test_a_progress_that_is_interrupted_leaves_no_checkpoint(folders, tmp_path, monkeypatch):
    import tqdm.auto

    class Stops(tqdm.auto.tqdm):
        def refresh(self, *args, **kwargs):
            if self.n:
                raise KeyboardInterrupt

    monkeypatch.setattr(tqdm.auto, "tqdm", Stops)
    with pytest.raises(KeyboardInterrupt):
        tenon.quantize(folders / "llama", tmp_path / "out", method="rtn", group_size=32)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_the_example_and_the_command(tmp_path):
    """A model trained by the example for a moment, then quantised by the command."""
    for i in range(3):
        (tmp_path / f"words{i}.txt").write_text(text(150), encoding="utf-8")
    script = ROOT / "examples" / "train_language_model.py"
    out = tmp_path / "lm"
    done = subprocess.run([sys.executable, script, "--text", *(str(tmp_path / f"words{i}.txt") for i in range(3)), "--layers", "1", "--width", "128", "--vocab", "300",
                           "--length", "32", "--batch", "4", "--steps", "3", "--threads", "2", "--out", str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "perplexity on unseen text" in done.stdout
    program = pathlib.Path(tenon.__file__).parent / "bin" / "tenon"
    if not program.is_file():
        pytest.skip("this build of the package has no command line tool")
    done = subprocess.run([sys.executable, "-m", "tenon", "quantize", out, "--text", out / "calibration.txt", "--held-out", out / "held_out.txt", "--length", "32",
                           "--samples", "8", "--layers", "--output", tmp_path / "small"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "7 of 7 layers quantised by awq" in done.stdout and "perplexity" in done.stdout and "model.layers.0.mlp.down_proj" in done.stdout
    assert "layer 1 of 1" in done.stderr
    done = subprocess.run([sys.executable, "-m", "tenon", "quantize", out, "--method", "q4", "--output", tmp_path / "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "awq, gptq" in done.stderr
