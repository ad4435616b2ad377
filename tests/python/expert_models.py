"""Small seeded mixtures of experts and rows that the tests of experts share."""
import numpy as np

import tenon

SMALL = dict(vocab_size=64, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.2)


def mixtral(experts=8, active=2, seed=0, **more):
    tenon.manual_seed(seed)
    return tenon.MixtralForCausalLM(tenon.MixtralConfig(**{**SMALL, "intermediate_size": 16, "num_local_experts": experts, "num_experts_per_tok": active,
                                                           **more}))


def deepseek(experts=8, active=2, seed=0, **more):
    tenon.manual_seed(seed)
    return tenon.DeepseekV3ForCausalLM(tenon.DeepseekV3Config(**{
        **SMALL, "intermediate_size": 16, "moe_intermediate_size": 8, "n_routed_experts": experts, "num_experts_per_tok": active, "n_group": 1,
        "topk_group": 1, "q_lora_rank": None, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        "first_k_dense_replace": 0, "num_nextn_predict_layers": 0, **more}))


def llama(seed=0, **more):
    tenon.manual_seed(seed)
    return tenon.LlamaForCausalLM(tenon.LlamaConfig(**{**SMALL, "intermediate_size": 32, **more}))


def rows(count, length=12, seed=0, domains=0):
    """Sequences of ids; with domains each one's ids lie in its own part of the vocabulary."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(count):
        d = i % domains if domains else 0
        low, high = (4 + d * 15, 4 + d * 15 + 15) if domains else (4, 64)
        ids = draw.integers(low, high, length).tolist()
        made.append({"input_ids": ids, "labels": ids, **({"domain": d} if domains else {})})
    return made


def batch(count=3, length=10, seed=1, padded=True):
    draw = np.random.default_rng(seed)
    ids, mask = draw.integers(4, 64, (count, length)), np.ones((count, length), np.int64)
    if padded:
        mask[1, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask}
