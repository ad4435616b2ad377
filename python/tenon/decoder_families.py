"""The decoder families' configuration defaults, as in Transformers; see families.py."""
from __future__ import annotations

from typing import Any

_INPUTS = ("input_ids", "attention_mask", "position_ids", "inputs_embeds", "labels", "prefix_key_values", "output_router_logits", "router_targets")
_DENSE = _INPUTS[:-2]
_SEARCH = {"use_sliding_window": False, "sliding_window": 4096}


def _decoder(vocab_size: int, hidden_size: int, intermediate_size: int, layers: int, heads: int, kv_heads: Any, positions: int, **more: Any) -> dict[str, Any]:
    return {"vocab_size": vocab_size, "hidden_size": hidden_size, "intermediate_size": intermediate_size, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_act": "silu", "max_position_embeddings": positions,
            "initializer_range": 0.02, "rms_norm_eps": 1e-6, "use_cache": True, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
            "tie_word_embeddings": False, "attention_dropout": 0.0, **more}


_BOS_EOS = {"bos_token_id": 1, "eos_token_id": 2}
_ROUTED = {"output_router_logits": False}
_LLAMA = _decoder(32000, 4096, 11008, 32, 32, None, 2048, **_BOS_EOS, attention_bias=False, mlp_bias=False, head_dim=None, pretraining_tp=1)
_DEEPSEEK = {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "attention_bias": False}
_GPT2 = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None, "activation_function": "gelu_new",
    "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1, "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "use_cache": True,
    "bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": None, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False, "tie_word_embeddings": True,
}

# model_type -> configuration class, defaults, inputs, Transformers' common names
ROWS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], dict[str, str]]] = {
    "gpt2": ("GPT2Config", _GPT2, _DENSE, {"hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
                                                 "num_hidden_layers": "n_layer"}),
    "llama": ("LlamaConfig", _LLAMA, _DENSE, {}),
    "mistral": ("MistralConfig", _decoder(32000, 4096, 14336, 32, 32, 8, 131072, **_BOS_EOS, sliding_window=4096, head_dim=None), _DENSE, {}),
    "qwen2": ("Qwen2Config", _decoder(151936, 4096, 22016, 32, 32, 32, 32768, **_SEARCH, max_window_layers=28), _DENSE, {}),
    "qwen3": ("Qwen3Config", _decoder(151936, 4096, 22016, 32, 32, 32, 32768, **_SEARCH, max_window_layers=28, head_dim=128, attention_bias=False),
              _DENSE, {}),
    "mixtral": ("MixtralConfig",
                {**_decoder(32000, 4096, 14336, 32, 32, 8, 131072, **_BOS_EOS, **_ROUTED, sliding_window=None, head_dim=None, num_experts_per_tok=2,
                            num_local_experts=8, router_aux_loss_coef=0.001, router_jitter_noise=0.0), "rms_norm_eps": 1e-5},
                _INPUTS, {"num_experts": "num_local_experts"}),
    "olmoe": ("OlmoeConfig",
              {**_decoder(50304, 2048, 2048, 16, 16, None, 4096, **_ROUTED, attention_bias=False, clip_qkv=None, num_experts_per_tok=8, num_experts=64,
                          router_aux_loss_coef=0.01, norm_topk_prob=False), "rms_norm_eps": 1e-5, "pad_token_id": 1, "eos_token_id": 50279},
              _INPUTS, {"num_local_experts": "num_experts"}),
    "qwen2_moe": ("Qwen2MoeConfig",
                  _decoder(151936, 2048, 5632, 24, 16, 16, 32768, **_SEARCH, **_ROUTED, max_window_layers=28, decoder_sparse_step=1, mlp_only_layers=None,
                           moe_intermediate_size=1408, shared_expert_intermediate_size=5632, num_experts_per_tok=4, num_experts=60, norm_topk_prob=False,
                           router_aux_loss_coef=0.001, qkv_bias=True), _INPUTS, {}),
    "qwen3_moe": ("Qwen3MoeConfig",
                  _decoder(151936, 2048, 6144, 24, 32, 4, 32768, **_SEARCH, **_ROUTED, attention_bias=False, decoder_sparse_step=1, mlp_only_layers=None,
                           moe_intermediate_size=768, num_experts_per_tok=8, num_experts=128, norm_topk_prob=False, router_aux_loss_coef=0.001),
                  _INPUTS, {"num_local_experts": "num_experts"}),
    "deepseek": ("DeepseekConfig",
                 {**_LLAMA, "vocab_size": 102400, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1407,
                  "moe_layer_freq": 1, "first_k_dense_replace": 0, "norm_topk_prob": False}, _INPUTS, {"num_experts": "n_routed_experts"}),
    "deepseek_v2": ("DeepseekV2Config",
                    {**_LLAMA, **_DEEPSEEK, **_ROUTED, "vocab_size": 102400, "first_k_dense_replace": 0, "n_group": None, "topk_group": None,
                     "n_routed_experts": 64, "n_shared_experts": 2, "routed_scaling_factor": 1.0, "topk_method": "greedy", "norm_topk_prob": False,
                     "num_experts_per_tok": None, "moe_intermediate_size": 1407}, _INPUTS, {"num_experts": "n_routed_experts"}),
    "deepseek_v3": ("DeepseekV3Config",
                    {**_decoder(129280, 7168, 18432, 61, 128, 128, 4096, **_DEEPSEEK, **_ROUTED, moe_intermediate_size=2048, n_shared_experts=1,
                                n_routed_experts=256, routed_scaling_factor=2.5, n_group=8, topk_group=4, num_experts_per_tok=8,
                                first_k_dense_replace=3, norm_topk_prob=True, rope_interleave=True, num_nextn_predict_layers=1),
                     "bos_token_id": 0, "eos_token_id": 1}, _INPUTS, {"num_local_experts": "n_routed_experts"}),
}
