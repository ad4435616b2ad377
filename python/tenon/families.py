"""What the classes of each model family take in Transformers: configuration defaults, sub-configurations, order of arguments.

A family that is in the C++ registry but not here works too; its configuration then has only what it was given.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from .decoder_families import ROWS as DECODERS
from .seq2seq_families import ROWS as ENCODER_DECODERS

_ENCODER: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
}
_BERT: dict[str, Any] = {
    "vocab_size": 30522, **_ENCODER, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": None, "position_embedding_type": "absolute", "use_cache": True, "classifier_dropout": None, "is_decoder": False,
    "add_cross_attention": False, "tie_word_embeddings": True,
}
_ROBERTA = {**_BERT, "vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_CLIP_TOWER: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "projection_dim": 512, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "attention_dropout": 0.0, "initializer_range": 0.02, "initializer_factor": 1.0,
}

_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds", "labels")


class Family(NamedTuple):
    """One row per model_type."""

    config_class: str
    defaults: dict[str, Any]
    inputs: tuple[str, ...] = _TEXT_INPUTS  # in the order of forward()'s positional arguments
    attribute_map: dict[str, str] = {}      # Transformers' common name -> this family's name
    sub_configs: dict[str, str] = {}        # key -> model_type


FAMILIES: dict[str, Family] = {
    "bert": Family("BertConfig", _BERT),
    "distilbert": Family(
        "DistilBertConfig",
        {"vocab_size": 30522, "max_position_embeddings": 512, "sinusoidal_pos_embds": False, "n_layers": 6, "n_heads": 12, "dim": 768,
         "hidden_dim": 3072, "dropout": 0.1, "attention_dropout": 0.1, "activation": "gelu", "initializer_range": 0.02, "qa_dropout": 0.1,
         "seq_classif_dropout": 0.2, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": True},
        ("input_ids", "attention_mask", "inputs_embeds", "labels", "position_ids"),
        {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}),
    "roberta": Family("RobertaConfig", _ROBERTA),
    "xlm-roberta": Family("XLMRobertaConfig", {**_ROBERTA, "vocab_size": 30522}),
    "vit": Family(
        "ViTConfig",
        {**_ENCODER, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "image_size": 224, "patch_size": 16, "num_channels": 3,
         "qkv_bias": True, "encoder_stride": 16, "pooler_output_size": None, "pooler_act": "tanh"},
        ("pixel_values", "labels", "interpolate_pos_encoding")),
    "clip": Family(
        "CLIPConfig", {"projection_dim": 512, "logit_scale_init_value": 2.6592, "initializer_factor": 1.0},
        ("input_ids", "pixel_values", "attention_mask", "position_ids", "return_loss", "interpolate_pos_encoding"),
        sub_configs={"text_config": "clip_text_model", "vision_config": "clip_vision_model"}),
    "clip_text_model": Family(
        "CLIPTextConfig",
        {**_CLIP_TOWER, "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
         "max_position_embeddings": 77, "pad_token_id": 1, "bos_token_id": 49406, "eos_token_id": 49407},
        ("input_ids", "attention_mask", "position_ids")),
    "clip_vision_model": Family(
        "CLIPVisionConfig", {**_CLIP_TOWER, "num_channels": 3, "image_size": 224, "patch_size": 32},
        ("pixel_values", "interpolate_pos_encoding")),
}


FAMILIES.update({model_type: Family(*row) for model_type, row in (*DECODERS.items(), *ENCODER_DECODERS.items())})


def family_of(model_type: str) -> Family:
    """The row of a model_type, or one without defaults."""
    return FAMILIES.get(model_type) or Family("PretrainedConfig", {}, _TEXT_INPUTS + ("pixel_values", "interpolate_pos_encoding", "return_loss"))
