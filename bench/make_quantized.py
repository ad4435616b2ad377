#!/usr/bin/env python3
"""Writes the 4-bit models that compare.py quantized measures: real shapes, random weights, AutoAWQ's gemm layout, and the same for llama.cpp.

    python bench/make_quantized.py --out DIR [--only dense1b|moe16|deepseek-v2-lite]      (0.8, 1.8 and 8.6 GB; needs numpy, for .gguf also gguf)

dense1b-awq, moe16-awq   the decoders of make_decoders.py in groups of 128, lm_head too; dense1b.gguf, moe16.gguf: the same sizes in Q4_0
deepseek-v2-lite-awq     DeepSeek-V2-Lite whole: 27 layers, 64 experts of which 6 are active, 15.7 billion weights. Kept in float16: the embedding, norms,
                         routers, and the one matrix whose 10944 columns are no multiple of 128
"""
import argparse
import json
import pathlib
import struct

import numpy as np

import make_decoders

GROUP = 128
V2_LITE = dict(
    architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", attention_bias=False, bos_token_id=100000, eos_token_id=100001, first_k_dense_replace=1,
    hidden_act="silu", hidden_size=2048, intermediate_size=10944, kv_lora_rank=512, max_position_embeddings=163840, moe_intermediate_size=1408,
    moe_layer_freq=1, n_group=1, n_routed_experts=64, n_shared_experts=2, norm_topk_prob=False, num_attention_heads=16, num_experts_per_tok=6,
    num_hidden_layers=27, num_key_value_heads=16, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64, rms_norm_eps=1e-6,
    rope_scaling=dict(beta_fast=32, beta_slow=1, factor=40, mscale=0.707, mscale_all_dim=0.707, original_max_position_embeddings=4096, type="yarn"),
    rope_theta=10000, routed_scaling_factor=1.0, scoring_func="softmax", seq_aux=True, tie_word_embeddings=False, topk_group=1, topk_method="greedy",
    torch_dtype="float16", v_head_dim=128, vocab_size=102400)


def v2_lite_shapes():
    c, heads = V2_LITE, V2_LITE["num_attention_heads"]
    width, latent, rope = c["hidden_size"], c["kv_lora_rank"], c["qk_rope_head_dim"]
    yield "model.embed_tokens.weight", (c["vocab_size"], width)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (width,)
        yield p + "post_attention_layernorm.weight", (width,)
        yield p + "self_attn.q_proj.weight", (heads * (c["qk_nope_head_dim"] + rope), width)
        yield p + "self_attn.kv_a_proj_with_mqa.weight", (latent + rope, width)
        yield p + "self_attn.kv_a_layernorm.weight", (latent,)
        yield p + "self_attn.kv_b_proj.weight", (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), latent)
        yield p + "self_attn.o_proj.weight", (width, heads * c["v_head_dim"])
        parts = {"mlp.": c["intermediate_size"]}
        if i >= c["first_k_dense_replace"]:
            yield p + "mlp.gate.weight", (c["n_routed_experts"], width)
            parts = {f"mlp.experts.{e}.": c["moe_intermediate_size"] for e in range(c["n_routed_experts"])}
            parts["mlp.shared_experts."] = c["moe_intermediate_size"] * c["n_shared_experts"]
        for name, inner in parts.items():
            yield p + name + "gate_proj.weight", (inner, width)
            yield p + name + "up_proj.weight", (inner, width)
            yield p + name + "down_proj.weight", (width, inner)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (c["vocab_size"], width)


def kept(name, shape):
    return len(shape) == 1 or "embed_tokens" in name or name.endswith(".gate.weight") or shape[1] % GROUP


def write_awq(folder, shapes, config):
    """The tensors one after another in files of about 4 GB; all codes are stretches of one pool of random words."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = np.random.default_rng(0).integers(0, 256, 1 << 26, dtype=np.uint8)
    half = (np.random.default_rng(1).standard_normal(1 << 24, dtype=np.float32) * 0.02).astype(np.float16).view(np.uint8)

    def stored(name, shape):
        if len(shape) == 1:
            yield name, "F16", shape, lambda n: np.full(n // 2, 1, np.float16).tobytes()
        elif kept(name, shape):
            yield name, "F16", shape, lambda n: np.resize(half, n).tobytes()
        else:
            rows, columns = shape
            base = name[: -len("weight")]
            yield base + "qweight", "I32", (columns, rows // 8), lambda n: np.resize(pool[len(name) * 4096 :], n).tobytes()
            yield base + "qzeros", "I32", (columns // GROUP, rows // 8), lambda n: np.full(n, 0x88, np.uint8).tobytes()
            yield base + "scales", "F16", (columns // GROUP, rows), lambda n: np.full(n // 2, 0.004, np.float16).tobytes()

    files, size = [[]], 0
    for name, shape in shapes:
        for tensor in stored(name, shape):
            n = int(np.prod(tensor[2])) * (2 if tensor[1] == "F16" else 4)
            if size + n > 4 << 30:
                files.append([])
                size = 0
            files[-1].append((*tensor, size, n))
            size += n
    index = {}
    for i, tensors in enumerate(files):
        file = f"model-{i + 1:05d}-of-{len(files):05d}.safetensors"
        index.update({t[0]: file for t in tensors})
        header = json.dumps({"__metadata__": {"format": "pt"}, **{name: {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + n]}
                                                                   for name, kind, shape, _, at, n in tensors}}).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / file, "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header)
            for *_, fill, _, n in tensors:
                f.write(fill(n))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    quantization = dict(quant_method="awq", bits=4, group_size=GROUP, version="gemm", zero_point=True, modules_to_not_convert=["gate"])
    (folder / "config.json").write_text(json.dumps(dict(config, torch_dtype="float16", quantization_config=quantization), indent=1))
    print("wrote", folder)


def decoder_config(m):
    experts = m["experts"]
    config = dict(architectures=["MixtralForCausalLM" if experts else "LlamaForCausalLM"], model_type="mixtral" if experts else "llama",
                  hidden_size=make_decoders.WIDTH, num_hidden_layers=m["layers"], num_attention_heads=make_decoders.HEADS,
                  num_key_value_heads=make_decoders.KV, head_dim=make_decoders.HEAD, intermediate_size=m["inner"], vocab_size=m["vocab"], rms_norm_eps=1e-5,
                  rope_theta=500000.0, max_position_embeddings=4096, hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    return dict(config, num_local_experts=experts, num_experts_per_tok=2, sliding_window=None) if experts else config


def write_gguf(path, m):
    try:
        import gguf
    except ModuleNotFoundError:
        return print("no", path, "(pip install gguf)")
    rng, width, kv = np.random.default_rng(0), make_decoders.WIDTH, make_decoders.KV * make_decoders.HEAD
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_context_length(4096), w.add_embedding_length(width), w.add_block_count(m["layers"]), w.add_feed_forward_length(m["inner"])
    w.add_head_count(make_decoders.HEADS), w.add_head_count_kv(make_decoders.KV), w.add_layer_norm_rms_eps(1e-5), w.add_rope_freq_base(500000.0)
    w.add_rope_dimension_count(make_decoders.HEAD), w.add_vocab_size(m["vocab"]), w.add_file_type(2), w.add_tokenizer_model("no_vocab")
    if m["experts"]:
        w.add_expert_count(m["experts"]), w.add_expert_used_count(2)

    def matrix(name, rows, columns, experts=0):
        """Blocks of 32 weights: a half scale and 16 bytes of codes."""
        blocks = np.empty((max(experts, 1), rows, columns // 32, 18), np.uint8)
        blocks[..., 2:] = np.resize(rng.integers(0, 256, 1 << 22, dtype=np.uint8), blocks[..., 2:].shape)
        blocks[..., :2] = np.frombuffer(np.float16(0.004).tobytes(), np.uint8)
        shape = (experts, rows, columns // 32 * 18) if experts else (rows, columns // 32 * 18)
        w.add_tensor(name, blocks.reshape(shape), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    matrix("token_embd.weight", m["vocab"], width), w.add_tensor("output_norm.weight", np.ones(width, np.float32)), matrix("output.weight", m["vocab"], width)
    for i in range(m["layers"]):
        p = f"blk.{i}."
        w.add_tensor(p + "attn_norm.weight", np.ones(width, np.float32)), w.add_tensor(p + "ffn_norm.weight", np.ones(width, np.float32))
        for name, rows in (("q", width), ("k", kv), ("v", kv), ("output", width)):
            matrix(f"{p}attn_{name}.weight", rows, width)
        kind = "_exps" if m["experts"] else ""
        if m["experts"]:
            w.add_tensor(p + "ffn_gate_inp.weight", rng.standard_normal((m["experts"], width)).astype(np.float32) * 0.02)
        for name, rows, columns in (("gate", m["inner"], width), ("up", m["inner"], width), ("down", width, m["inner"])):
            matrix(f"{p}ffn_{name}{kind}.weight", rows, columns, m["experts"])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    print("wrote", path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=[*make_decoders.MODELS, "deepseek-v2-lite"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for model in [args.only] if args.only else [*make_decoders.MODELS, "deepseek-v2-lite"]:
        if model == "deepseek-v2-lite":
            write_awq(args.out / f"{model}-awq", v2_lite_shapes(), V2_LITE)
            continue
        sizes = make_decoders.MODELS[model]
        write_awq(args.out / f"{model}-awq", make_decoders.shapes(**sizes), decoder_config(sizes))
        write_gguf(args.out / f"{model}.gguf", sizes)
