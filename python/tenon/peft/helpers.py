"""PEFT's functions around adapters that scripts call on their way."""
from __future__ import annotations

from typing import Any

from .attached import Attached
from .config import LoraConfig


def prepare_model_for_kbit_training(model: Any, use_gradient_checkpointing: bool = True, gradient_checkpointing_kwargs: Any = None) -> Any:
    """Freezes a model and turns checkpoints of its layers on."""
    model.requires_grad_(False)
    if use_gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def cast_mixed_precision_params(model: Any, dtype: Any) -> None:
    """Adapters are float32 in any precision of the model: nothing is left to do."""


def inject_adapter_in_model(peft_config: Any, model: Any, adapter_name: str = "default", low_cpu_mem_usage: bool = False,
                            state_dict: Any = None) -> Any:
    """Adds a LoRA adapter to a model without wrapping it. Errors: as get_peft_model; TypeError for other methods."""
    if not isinstance(peft_config, LoraConfig):
        raise TypeError(f"[inject_adapter_in_model] expected a LoraConfig, got {type(peft_config).__name__}")
    from .lora import LoraModel

    if model._adapters is None:
        return LoraModel(model, peft_config, adapter_name).model
    Attached.of(model).add(adapter_name, peft_config.to_dict())
    return model
