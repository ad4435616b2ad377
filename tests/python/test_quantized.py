"""Quantised checkpoints: the golden ones against NumPy, configurations, saving, adapters, and what is refused."""
import copy
import json
import shutil

import numpy as np
import pytest

import tenon
from conftest import GOLDEN, SHARED
from tenon.safetensors import load_file, save_file

KINDS = ["awq", "gptq", "fp8"]
AWQ_PLACE = [0, 4, 1, 5, 2, 6, 3, 7]  # the nibble of output i of 8


def folder_of(kind):
    for folder in (GOLDEN / f"llama-{kind}", SHARED / "golden" / "cases" / f"llama-{kind}"):
        if (folder / "outputs.safetensors").exists():
            return folder
    pytest.skip(f"there is no golden case llama-{kind}")


def nibbles(words, places=range(8)):
    """(rows, words) of int32 as (rows, 8 * words)."""
    parts = [(words.astype(np.uint32) >> np.uint32(4 * p)) & 15 for p in places]
    return np.stack(parts, -1).reshape(words.shape[0], -1).astype(np.float32)


def weights_of(folder):
    """name -> float32 array, quantised layers dequantised, as the formats' definitions say."""
    no_numpy = (tenon.bfloat16, tenon.float8_e4m3fn)
    stored = {k: (v.float() if v.dtype in no_numpy else v).numpy() for k, v in load_file(folder / "model.safetensors").items()}
    method = json.loads((folder / "config.json").read_text())["quantization_config"]["quant_method"]
    weights = {}
    for name, t in stored.items():
        stem, _, part = name.rpartition(".")
        if part == "qweight":
            places = AWQ_PLACE if method == "awq" else range(8)
            q = nibbles(t, places) if method == "awq" else nibbles(np.ascontiguousarray(t.T)).T
            zeros = nibbles(stored[stem + ".qzeros"], places) + (method == "gptq")
            scales = stored[stem + ".scales"].astype(np.float32)
            weights[stem + ".weight"] = ((q - np.repeat(zeros, 128, 0)) * np.repeat(scales, 128, 0)).T
        elif part == "weight" and stem + ".weight_scale_inv" in stored:
            scale = np.repeat(np.repeat(stored[stem + ".weight_scale_inv"], 128, 0), 128, 1)
            weights[name] = t * scale[: t.shape[0], : t.shape[1]]
        elif part == "weight":
            weights[name] = t.astype(np.float32)
    return weights


def llama(weights, config, ids, rows=lambda x: x):
    """Logits of a small Llama; `rows` rounds what enters the quantised layers."""
    heads, kv, width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    tokens = ids.shape[1]

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name]

    def linear(x, name):
        return rows(x) @ weights[name].T

    angle = np.arange(tokens)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    cos, sin = np.cos(np.concatenate([angle, angle], -1)), np.sin(np.concatenate([angle, angle], -1))

    def rope(x):
        return x * cos + np.concatenate([-x[..., width // 2:], x[..., : width // 2]], -1) * sin

    def split(x, n):
        return x.reshape(x.shape[0], tokens, n, width).transpose(0, 2, 1, 3)

    x = weights["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm.weight")
        q, k, v = (split(linear(h, f"{at}self_attn.{p}_proj.weight"), n) for p, n in (("q", heads), ("k", kv), ("v", kv)))
        q, k, v = rope(q), np.repeat(rope(k), heads // kv, 1), np.repeat(v, heads // kv, 1)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width) + np.triu(np.full((tokens, tokens), -np.inf), 1)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (p / p.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape[0], tokens, -1)
        x = x + linear(mixed, at + "self_attn.o_proj.weight")
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = linear(h, at + "mlp.gate_proj.weight")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, at + "mlp.up_proj.weight"), at + "mlp.down_proj.weight")
    return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


def rounded(x, group=128):
    """Each row's groups of 128 to int8: scale = max |x| / 127."""
    parts = x.reshape(*x.shape[:-1], -1, group)
    scale = np.maximum(np.abs(parts).max(-1, keepdims=True) / 127, 1e-30)
    return (np.round(parts / scale) * scale).reshape(x.shape)


def error(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


@pytest.mark.parametrize("kind", KINDS)
def test_golden_checkpoints_exact_and_with_int8_activations(kind):
    folder = folder_of(kind)
    config = json.loads((folder / "config.json").read_text())
    ids, want = load_file(folder / "inputs.safetensors")["input_ids"], load_file(folder / "outputs.safetensors")["logits"].numpy()
    weights = weights_of(folder)
    assert error(llama(weights, config, ids.numpy()), want) < 1e-4  # the NumPy model itself is right

    method = {"awq": tenon.AwqConfig, "gptq": tenon.GPTQConfig, "fp8": tenon.Fp8Config}[kind]
    exact = tenon.AutoModelForCausalLM.from_pretrained(folder, quantization_config=method(exact=True))
    assert error(exact(ids).logits.numpy(), want) < 1e-3
    assert exact.config.quantization_config["quant_method"] == kind
    assert exact.num_parameters() == sum(w.size for w in weights.values())
    model = tenon.AutoModelForCausalLM.from_pretrained(folder)
    plain = error(llama(weights, config, ids.numpy(), rounded if kind != "fp8" else lambda x: x), want)
    assert error(model(ids).logits.numpy(), want) < 2 * max(plain, 5e-5)
    half = tenon.AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")
    assert half.dtype == tenon.bfloat16 and error(half(ids).logits.numpy(), want) < 0.03
    short = tenon.AutoModelForCausalLM.from_pretrained(folder, exact=True)
    assert np.array_equal(short(ids).logits.numpy(), exact(ids).logits.numpy())
    other = tenon.AutoModelForCausalLM.from_pretrained(folder, quantization_config=method(exact=True), exact=False)  # what is said plainly counts
    assert np.array_equal(other(ids).logits.numpy(), model(ids).logits.numpy())
    with pytest.raises(TypeError, match="exact products: expected float32, bfloat16 or fp8"):
        tenon.AutoModelForCausalLM.from_pretrained(folder, quantization_config=tenon.Int8Config(), exact=True)
    for how, bound in ((tenon.Int8Config(), 0.05), ({"quant_method": kind, "exact": True}, 1e-3)):
        assert error(tenon.AutoModelForCausalLM.from_pretrained(folder, quantization_config=how)(ids).logits.numpy(), want) < bound


@pytest.mark.parametrize("kind", KINDS)
def test_saved_again_the_same(kind, tmp_path):
    folder = folder_of(kind)
    model = tenon.AutoModelForCausalLM.from_pretrained(folder)
    ids = load_file(folder / "inputs.safetensors")["input_ids"]
    before = model(ids).logits.numpy()
    generated = model.generate(ids, max_new_tokens=5, do_sample=False).numpy()
    model.save_pretrained(tmp_path / "again")
    first, second = load_file(folder / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert first.keys() == second.keys()
    for name, t in first.items():
        assert np.array_equal(t.numpy(), second[name].numpy()), name
        assert t.dtype == second[name].dtype or name.endswith("norm.weight"), name  # norms are float32 once loaded
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["quantization_config"] == json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["dtype"] in ("float16", "bfloat16", "float32")
    again = tenon.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert np.array_equal(again(ids).logits.numpy(), before)
    assert np.array_equal(again.generate(ids, max_new_tokens=5, do_sample=False).numpy(), generated)


def test_state_dict_names_what_is_stored():
    model = tenon.AutoModelForCausalLM.from_pretrained(folder_of("awq"))
    state = model.state_dict()
    assert state["model.layers.0.mlp.up_proj.qweight"].dtype == tenon.int32 and "model.layers.0.mlp.up_proj.weight" not in state
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "model.norm.weight" in trainable and not any(n.endswith((".qweight", ".qzeros", ".scales")) for n in trainable)
    model.load_state_dict(state)  # the same: nothing to do
    other = dict(state, **{"model.layers.0.mlp.up_proj.qweight": tenon.zeros_like(state["model.layers.0.mlp.up_proj.qweight"])})
    with pytest.raises(RuntimeError, match=r"up_proj\.qweight is part of a quantised weight, which stays"):
        model.load_state_dict(other)
    with pytest.raises(RuntimeError, match=r"model\.layers\.0\.mlp\.up_proj\.scales is part of a quantised weight"):
        dict(model.named_parameters())["model.layers.0.mlp.up_proj.scales"].requires_grad = True
    with pytest.raises(RuntimeError, match="part of a quantised weight"):
        dict(model.named_parameters())["model.layers.0.mlp.up_proj.qweight"].requires_grad_()


def test_adapters_train_on_a_quantised_base():
    folder = folder_of("awq")
    ids = load_file(folder / "inputs.safetensors")["input_ids"]
    tenon.manual_seed(0)
    model = tenon.get_peft_model(tenon.AutoModelForCausalLM.from_pretrained(folder), tenon.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    stored = {k: v.numpy().copy() for k, v in load_file(folder / "model.safetensors").items() if k.endswith("qweight")}
    losses = []
    model.train()
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    model.eval()
    assert model(ids, labels=ids).loss.item() < losses[0] - 0.1
    now = {k.replace("base_model.model.", "").replace(".base_layer", ""): v for k, v in model.state_dict().items()}
    for name, words in stored.items():
        assert np.array_equal(now[name].numpy(), words)
    with pytest.raises((TypeError, ValueError), match="cannot be merged into a quantised weight"):
        model.merge_and_unload()


def test_configurations():
    assert tenon.AwqConfig(bits=4, group_size=64).to_dict() == {
        "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    assert tenon.GPTQConfig(bits=4, desc_act=True, exact=True).exact and "exact" not in tenon.GPTQConfig(bits=4, exact=True).to_dict()
    assert tenon.AwqConfig.from_dict(tenon.AwqConfig(group_size=32).to_dict()) == tenon.AwqConfig(group_size=32)
    assert tenon.FineGrainedFP8Config is tenon.Fp8Config and "exact=True" in repr(tenon.AwqConfig(exact=True))
    with pytest.raises(ValueError, match="dequantize"):
        tenon.Fp8Config(dequantize=True)


def test_plain_checkpoints_are_rounded_only_where_that_is_said(tmp_path):
    tenon.manual_seed(1)
    config = tenon.LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=96, vocab_size=90,
                               initializer_range=0.15)
    tenon.LlamaForCausalLM(config).save_pretrained(tmp_path)
    for how in (tenon.AwqConfig(bits=4), tenon.GPTQConfig(bits=4), tenon.CompressedTensorsConfig(), {"quant_method": "awq"}):
        with pytest.raises(ValueError, match="tenon quantize"):
            tenon.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=how)
    with pytest.raises(ValueError, match="expected Int8Config"):
        tenon.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config={"quant_method": "bitsandbytes"})
    ids = np.array([[3, 9, 17, 40, 41, 5]])
    want = tenon.AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits.numpy()
    int4 = error(tenon.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=tenon.Int4Config())(ids).logits.numpy(), want)
    fp8 = error(tenon.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=tenon.Fp8Config())(ids).logits.numpy(), want)
    assert 0 < fp8 < int4 < 0.8


def test_another_method_than_the_checkpoints():
    with pytest.raises(ValueError, match="is quantised by awq, not by gptq"):
        tenon.AutoModelForCausalLM.from_pretrained(folder_of("awq"), quantization_config=tenon.GPTQConfig(bits=4))


def test_damaged_checkpoints_name_the_layer(tmp_path):
    folder = folder_of("awq")
    shutil.copy(folder / "config.json", tmp_path / "config.json")
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.o_proj"

    def opened(**changes):
        save_file({k: changes.get(k.rpartition(".")[2], v) if k.startswith(name) else v for k, v in tensors.items()}, tmp_path / "model.safetensors")
        return tenon.AutoModelForCausalLM.from_pretrained(tmp_path)

    with pytest.raises(ValueError, match=rf"{name}: qweight: expected shape \(256, 32\)"):
        opened(qweight=tenon.zeros((256, 31), dtype=tenon.int32))
    scales = tensors[name + ".scales"].numpy().copy()
    for bad in (0, np.nan, np.inf):
        scales[1, 7] = bad
        with pytest.raises(ValueError, match=rf"{name}\.scales: element \(1, 7\): expected a number other than 0, got"):
            opened(scales=tenon.tensor(scales))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["bits"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="only 4 is supported, got 3"):
        opened()


def test_a_copy_computes_the_same():
    model = tenon.AutoModelForCausalLM.from_pretrained(folder_of("gptq"))
    copied = copy.deepcopy(model)
    ids = np.array([[1, 5, 9]])
    assert np.array_equal(copied(ids).logits.numpy(), model(ids).logits.numpy())
    copied.get_input_embeddings().weight.requires_grad_(False)
    assert model.get_input_embeddings().weight.requires_grad
