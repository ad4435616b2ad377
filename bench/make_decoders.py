#!/usr/bin/env python3
"""Writes the decoders that compare.py measures: real shapes with random bfloat16 weights.

    python bench/make_decoders.py --out DIR [--only dense1b|moe16]      (3 and 7 GB; needs numpy)

dense1b   Llama: width 2048, 16 layers, 32 heads over 8, feed-forward 8192, vocabulary 128256
moe16     Mixtral: width 2048, 8 layers, 32 heads over 8, 16 experts of 4096 of which 2 are active, vocabulary 32000
"""
import argparse
import json
import pathlib
import struct

import numpy as np

WIDTH, HEADS, KV, HEAD = 2048, 32, 8, 64
MODELS = {"dense1b": dict(layers=16, inner=8192, vocab=128256, experts=0), "moe16": dict(layers=8, inner=4096, vocab=32000, experts=16)}


def shapes(layers, inner, vocab, experts):
    """Names and shapes in the order of the file."""
    yield "model.embed_tokens.weight", (vocab, WIDTH)
    for i in range(layers):
        p = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{p}{name}.weight", (WIDTH,)
        for name, rows in (("q_proj", HEADS * HEAD), ("k_proj", KV * HEAD), ("v_proj", KV * HEAD)):
            yield f"{p}self_attn.{name}.weight", (rows, WIDTH)
        yield f"{p}self_attn.o_proj.weight", (WIDTH, HEADS * HEAD)
        if experts:
            yield f"{p}block_sparse_moe.gate.weight", (experts, WIDTH)
        for e in range(max(experts, 1)):
            names = [f"{p}block_sparse_moe.experts.{e}.{w}" for w in ("w1", "w3", "w2")] if experts else [f"{p}mlp.{w}" for w in ("gate_proj", "up_proj", "down_proj")]
            yield f"{names[0]}.weight", (inner, WIDTH)
            yield f"{names[1]}.weight", (inner, WIDTH)
            yield f"{names[2]}.weight", (WIDTH, inner)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (vocab, WIDTH)


def write(folder, name):
    m = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    pool = (np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32) * 0.02).view(np.uint32) >> 16
    pool = np.concatenate([pool, pool]).astype(np.uint16)  # bfloat16, cut off; any stretch of it is as random as another
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for tensor, shape in shapes(**m):
        size = 2 * int(np.prod(shape))
        header[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for i, (tensor, shape) in enumerate(shapes(**m)):
            left = int(np.prod(shape))
            if len(shape) == 1:
                f.write(np.full(left, 0x3F80, np.uint16).tobytes())
                continue
            start = i * 7919 % (1 << 24)
            while left:
                n = min(left, len(pool) - start)
                f.write(memoryview(pool[start:start + n]))
                left, start = left - n, 0
    config = dict(architectures=["MixtralForCausalLM" if m["experts"] else "LlamaForCausalLM"], model_type="mixtral" if m["experts"] else "llama",
                  hidden_size=WIDTH, num_hidden_layers=m["layers"], num_attention_heads=HEADS, num_key_value_heads=KV, head_dim=HEAD,
                  intermediate_size=m["inner"], vocab_size=m["vocab"], rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=4096,
                  hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)
    if m["experts"]:
        config.update(num_local_experts=m["experts"], num_experts_per_tok=2, sliding_window=None)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    print("wrote", folder, f"{at / 1e9:.1f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=list(MODELS))
    args = parser.parse_args()
    for model in [args.only] if args.only else MODELS:
        write(args.out / model, model)
