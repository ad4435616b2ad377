"""The encoder-decoder families' configuration defaults, as in Transformers; see families.py."""
from __future__ import annotations

from typing import Any

_INPUTS = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask", "encoder_outputs", "inputs_embeds",
           "decoder_inputs_embeds", "labels")
_BART_NAMES = {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads", "num_hidden_layers": "encoder_layers"}
_T5_NAMES = {"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers", "head_dim": "d_kv"}

_BART: dict[str, Any] = {
    "max_position_embeddings": 1024, "encoder_layers": 12, "encoder_ffn_dim": 4096, "encoder_attention_heads": 16, "decoder_layers": 12,
    "decoder_ffn_dim": 4096, "decoder_attention_heads": 16, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "use_cache": True,
    "is_encoder_decoder": True, "d_model": 1024, "dropout": 0.1, "activation_dropout": 0.0, "init_std": 0.02, "tie_word_embeddings": True,
}
_MARIAN = {
    **_BART, "vocab_size": 58101, "decoder_vocab_size": None, "activation_function": "gelu", "attention_dropout": 0.0,
    "decoder_start_token_id": 58100, "scale_embedding": False, "pad_token_id": 58100, "eos_token_id": 0, "bos_token_id": None,
    "forced_eos_token_id": 0, "share_encoder_decoder_embeddings": True,
}
_M2M100 = {
    **_BART, "vocab_size": 128112, "encoder_layerdrop": 0.05, "decoder_layerdrop": 0.05, "activation_function": "relu",
    "attention_dropout": 0.1,
    "decoder_start_token_id": 2, "scale_embedding": True, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}
_T5: dict[str, Any] = {
    "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": None, "num_heads": 8,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6,
    "initializer_factor": 1.0, "feed_forward_proj": "relu", "is_encoder_decoder": True, "use_cache": True, "pad_token_id": 0,
    "eos_token_id": 1, "classifier_dropout": 0.0, "tie_word_embeddings": True,
}
_MT5 = {**_T5, "vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu", "bos_token_id": None,
        "decoder_start_token_id": 0}

# model_type -> configuration class, defaults, inputs, Transformers' common names
ROWS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], dict[str, str]]] = {
    "marian": ("MarianConfig", _MARIAN, _INPUTS, _BART_NAMES),
    "m2m_100": ("M2M100Config", _M2M100, _INPUTS, _BART_NAMES),
    "t5": ("T5Config", _T5, _INPUTS, _T5_NAMES),
    "mt5": ("MT5Config", _MT5, _INPUTS, _T5_NAMES),
}
