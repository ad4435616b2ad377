"""Writes corpus/quantized: small layers in each checkpoint format, as fuzz_quantized.cpp reads them. Usage: python make_quantized.py"""
import json
import pathlib
import struct

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "corpus" / "quantized"
TYPES = {"int32": "I32", "int64": "I64", "int8": "I8", "float16": "F16", "float32": "F32", "uint8": "F8_E4M3"}
N, K, GROUP = 16, 64, 32
draw = np.random.default_rng(1)


def write(name, config, tensors, types=None):
    header, data = {}, b""
    for key, t in tensors.items():
        header[key] = {"dtype": (types or {}).get(key, TYPES[t.dtype.name]), "shape": list(t.shape), "data_offsets": [len(data), len(data) + t.nbytes]}
        data += t.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = json.dumps({"N": N, "K": K, "quantization_config": config}, separators=(",", ":")).encode()
    (FOLDER / name).write_bytes(head + b"\n" + struct.pack("<Q", len(text)) + text + data)


def words(*shape):
    return draw.integers(-2**31, 2**31, shape, dtype=np.int64).astype(np.int32)


def scales(*shape, dtype=np.float16):
    return draw.uniform(0.01, 0.1, shape).astype(dtype)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    groups = K // GROUP
    awq = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    write("awq_gemm", awq, {"qweight": words(K, N // 8), "qzeros": words(groups, N // 8), "scales": scales(groups, N)})
    padded = np.concatenate([scales(N, groups), np.zeros((N, 32 - groups), np.float16)], 1)
    write("awq_gemv", {**awq, "version": "gemv"}, {"qweight": words(N, K // 8), "qzeros": words(N, 4), "scales": padded})
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": False, "desc_act": False, "checkpoint_format": "gptq"}
    parts = {"qweight": words(K // 8, N), "qzeros": words(groups, N // 8), "scales": scales(groups, N)}
    order = draw.permutation(np.repeat(np.arange(groups, dtype=np.int32), GROUP))
    write("gptq", gptq, parts)
    write("gptq_order", {**gptq, "desc_act": True}, {**parts, "g_idx": order})
    write("gptq_v2", {**gptq, "checkpoint_format": "gptq_v2"}, parts)
    write("gptq_row", {**gptq, "group_size": -1}, {**parts, "qzeros": words(1, N // 8), "scales": scales(1, N)})

    def compressed(weights, form):
        return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}

    four = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP, "symmetric": True}
    packed = {"weight_packed": words(N, K // 8), "weight_scale": scales(N, groups), "weight_shape": np.array([N, K], np.int64)}
    write("packed", compressed(four, "pack-quantized"), packed)
    write("packed_zeros", compressed({**four, "symmetric": False}, "pack-quantized"), {**packed, "weight_zero_point": words(N // 8, groups)})
    write("packed_order", compressed({**four, "actorder": "group"}, "pack-quantized"), {**packed, "weight_g_idx": order})
    eight = {"num_bits": 8, "type": "int", "strategy": "channel"}
    write("int8", compressed(eight, "int-quantized"), {"weight": draw.integers(-128, 128, (N, K)).astype(np.int8), "weight_scale": scales(N, 1, dtype=np.float32)})
    bytes_ = draw.integers(0, 0x7f, (N, K)).astype(np.uint8) | draw.integers(0, 2, (N, K)).astype(np.uint8) << 7
    write("float8", compressed({**eight, "type": "float"}, "float-quantized"), {"weight": bytes_, "weight_scale": scales(N, 1, dtype=np.float32)})
    blocks = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [16, 32]}
    write("blocks", blocks, {"weight": bytes_, "weight_scale_inv": scales(1, 2, dtype=np.float32)})
    write("blocks_e8m0", {**blocks, "scale_fmt": "ue8m0"}, {"weight": bytes_, "weight_scale_inv": np.array([[120, 127]], np.uint8)}, {"weight_scale_inv": "F8_E8M0"})


main()
