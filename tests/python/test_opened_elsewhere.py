"""Folders that Tenon writes, opened by the libraries they are meant for: Transformers with compressed-tensors, GPTQModel and Optimum. Needs torch."""
import importlib.util
import json

import numpy as np
import pytest

import tenon
from test_quantizing import text

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
IDS = np.random.RandomState(0).randint(0, 250, (2, 24))
SIZES = dict(vocab_size=320, hidden_size=256, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.05)
HALF = 2e-3  # weights that the other library makes in half precision: each is rounded by 2^-11
METHODS = {"awq": dict(method="awq"), "gptq": dict(method="gptq"), "gptq act-order": dict(method="gptq", desc_act=True), "gptq zeros": dict(method="gptq", symmetric=False),
           "packed": dict(method="gptq", format="compressed-tensors"), "packed zeros": dict(method="awq", format="compressed-tensors"),
           "int8": dict(method="int8"), "fp8": dict(method="fp8", group_size=128)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    tenon.set_seed(0)
    root = tmp_path_factory.mktemp("models")
    tokenizer = tenon.train_tokenizer([text(50)], kind="bpe", vocab_size=300, special_tokens=["<|endoftext|>"])
    for name, model in (("llama", tenon.LlamaForCausalLM(tenon.LlamaConfig(**SIZES))),
                        ("mixtral", tenon.MixtralForCausalLM(tenon.MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **SIZES)))):
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


def quantized(root, model, kind):
    """The folder of a model quantised so, made once."""
    folder = root / f"{model} {kind}"
    if not folder.exists():
        tenon.quantize(root / model, folder, text(100), **{"group_size": 64, **METHODS[kind]}, n_samples=8, max_calib_seq_len=32, held_out_windows=2, disable_tqdm=True)
    return folder


def needs(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def error(folder, bound, **kwargs):
    """The largest difference of Transformers' logits from ours, over the largest logit."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu", **kwargs)
    with torch.no_grad():
        got = theirs(torch.tensor(IDS)).logits.float().numpy()
    want = tenon.AutoModelForCausalLM.from_pretrained(folder, exact=True)(input_ids=IDS).logits.numpy()
    worst = np.abs(got - want).max() / np.abs(want).max()
    print(f"{folder.name}: {worst:.2g}")
    assert worst < bound
    return theirs


@pytest.mark.parametrize("kind", ["awq", "gptq", "gptq act-order", "gptq zeros"])
def test_gptqmodel(root, kind):
    needs("gptqmodel", "optimum", "accelerate")
    theirs = error(quantized(root, "llama", kind), HALF)
    assert type(theirs.model.layers[0].self_attn.q_proj).__module__.startswith("gptqmodel.")


@pytest.mark.parametrize("model", ["llama", "mixtral"])
@pytest.mark.parametrize("kind", ["packed", "packed zeros", "int8"])
def test_compressed_tensors(root, model, kind):
    needs("compressed_tensors", "accelerate")
    if model == "mixtral" and kind in ("packed zeros", "int8"):
        pytest.skip("Transformers joins experts of symmetric 4 bits and of FP8 only")
    # Opened as compressed modules, zero points are looked for unpacked, and int8 rounds activations, as it should.
    error(quantized(root, model, kind), HALF, quantization_config=transformers.CompressedTensorsConfig(dequantize=True))
    if kind == "packed":
        error(quantized(root, model, kind), HALF)


@pytest.mark.parametrize("model", ["llama", "mixtral"])
def test_fp8(root, model):
    needs("accelerate")
    error(quantized(root, model, "fp8"), 1e-5)


@pytest.mark.parametrize("kind", ["packed", "packed zeros", "int8"])
def test_weights_unpacked_by_compressed_tensors(root, kind):
    """Each weight of a mixture, experts too, to the bit of float32."""
    needs("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    folder = quantized(root, "mixtral", kind)
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = next(iter(QuantizationConfig.model_validate(settings).config_groups.values()))
    stored = torch_tensors(folder)
    compressor = BaseCompressor.get_value_from_registry(settings["format"])
    checked = 0
    for name in [n.rpartition(".")[0] for n in stored if n.endswith(".weight_scale")]:
        parts = {n.rpartition(".")[2]: t.float() if t.dtype == torch.float16 else t for n, t in stored.items() if n.startswith(name + ".")}
        want = dequantized(parts)
        got = compressor.decompress(parts, scheme)["weight"].float().numpy()
        assert np.array_equal(got, want), name
        checked += 1
    assert checked == 2 * (4 + 3 * 4)


def torch_tensors(folder):
    from safetensors.torch import load_file
    return load_file(str(folder / "model.safetensors"))


def dequantized(parts):
    """A layer's weight as the format's definition says, in NumPy; that ours is the same, the logits show."""
    if "weight" in parts:
        return parts["weight"].numpy().astype(np.float32) * parts["weight_scale"].float().numpy()
    rows, columns = parts["weight_shape"].tolist()
    words = parts["weight_packed"].numpy().view(np.uint32)
    codes = np.stack([(words >> np.uint32(4 * i)) & 15 for i in range(8)], -1).reshape(rows, -1)[:, :columns].astype(np.float32)
    scales = parts["weight_scale"].float().numpy()
    zeros = np.full(scales.shape, 8.0, np.float32)
    if "weight_zero_point" in parts:
        packed = parts["weight_zero_point"].numpy().view(np.uint32)
        zeros = np.stack([(packed >> np.uint32(4 * i)) & 15 for i in range(8)], 1).reshape(-1, packed.shape[1])[:rows].astype(np.float32)
    group = parts["weight_g_idx"].numpy() if "weight_g_idx" in parts else np.arange(columns) // (columns // scales.shape[1])
    return (codes - zeros[:, group]) * scales[:, group]


@pytest.mark.parametrize("layout", ["dense", "bitmask"])
def test_sparse(root, tmp_path, layout):
    model = tenon.LlamaForCausalLM.from_pretrained(root / "llama")
    pruned = {}
    for name, p in model.named_parameters():
        t = p.detach().numpy().copy()
        if name.endswith("proj.weight"):
            t[np.abs(t) < np.quantile(np.abs(t), 0.75)] = 0
        pruned[name] = tenon.tensor(t)
    model.load_state_dict(pruned, strict=False)
    saved = tenon.sparsity.save_sparse(model, tmp_path / "sparse", layout=layout)
    if layout == "dense":
        assert saved == 0
        error(tmp_path / "sparse", 1e-5)
        return
    needs("compressed_tensors")
    from compressed_tensors.utils import unpack_bitmasks
    assert saved == 2 * 7
    stored, found = torch_tensors(tmp_path / "sparse"), 0
    for name in [n.removesuffix(".bitmask") for n in stored if n.endswith(".bitmask")]:
        shape = stored[name + ".shape"].tolist()
        got = torch.zeros(shape, dtype=stored[name + ".compressed"].dtype)
        got[unpack_bitmasks(stored[name + ".bitmask"], shape)] = stored[name + ".compressed"]
        assert np.array_equal(got.float().numpy(), pruned[name + ".weight"].numpy())
        found += 1
    assert found == saved
