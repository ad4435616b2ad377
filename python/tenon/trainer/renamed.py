"""Argument names of Transformers 4 and of other optimiser libraries, and what they are called now."""
from __future__ import annotations

from typing import Any

from .. import hub
from .names import OptimizerNames

_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}
# Those that say how files lie, how PyTorch runs or what this library does anyway.
_WITHOUT_EFFECT = frozenset(
    "overwrite_output_dir save_safetensors fp16_backend fp16_opt_level half_precision_backend include_tokens_per_second use_mps_device "
    "jit_mode_eval use_ipex past_index mp_parameters torchdynamo ray_scope tpu_num_cores tpu_metrics_debug dispatch_batches split_batches "
    "use_legacy_prediction_loop fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap push_to_hub_model_id push_to_hub_organization "
    "push_to_hub_token xpu_backend sharded_ddp tp_size dataloader_timeout".split())


def current_names(owner: str, kwargs: dict[str, Any], known: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments under the names of Transformers 5, and attributes to keep beside them. Errors: TypeError for two values of one argument."""
    taken, extra, said = dict(kwargs), dict[str, Any](), list[str]()

    def put(old: str, new: str, value: Any) -> None:
        if new in kwargs:
            raise TypeError(f"[{owner}] got two values for {new}: {old} is its older name")
        taken[new] = value
        said.append(f"{old} is now called {new}")

    for old in [name for name in kwargs if name not in known]:
        value = taken.pop(old)
        if old in _RENAMED:
            put(old, _RENAMED[old], value)
        elif old == "warmup_ratio":
            if not kwargs.get("warmup_steps"):
                taken["warmup_steps"] = value
            said.append("warmup_ratio is now a warmup_steps below 1")
        elif old == "group_by_length":
            if value:
                put(old, "train_sampling_strategy", "group_by_length")
        elif old == "include_inputs_for_metrics":
            if value:
                taken["include_for_metrics"] = [*kwargs.get("include_for_metrics", []), "inputs"]
            said.append("include_inputs_for_metrics is now include_for_metrics=[\"inputs\"]")
        elif old == "adafactor":
            if value:
                put(old, "optim", "adafactor")
        elif old == "logging_dir":
            extra[old] = value
            said.append("logging_dir is read by the TensorBoard callback alone")
        elif old in _WITHOUT_EFFECT:
            said.append(f"{old} has no effect")
        else:
            raise TypeError(f"[{owner}] unknown argument: {old}")
    if said:
        hub.warn(f"{owner}: names of Transformers 4: {'; '.join(said)}", once=True)
    return taken, extra


_OPTIMIZERS = {
    "adamw_hf": "adamw_torch", "adamw": "adamw_torch", "adamw_apex_fused": "adamw_torch_fused", "adamw_torch_xla": "adamw_torch",
    "lion": "lion_32bit",
    "paged_lion_32bit": "lion_32bit", "adamw_bnb_8bit": "adamw_8bit", "paged_adamw_8bit": "adamw_8bit", "adamw_torch_8bit": "adamw_8bit",
    "paged_adamw": "adamw_torch", "paged_adamw_32bit": "adamw_torch",
}


def optimizer_name(value: Any) -> OptimizerNames:
    """The optimiser that a name of Transformers means here. Errors: ValueError for one that is not here."""
    value = getattr(value, "value", value)
    try:
        return OptimizerNames(_OPTIMIZERS.get(value, value))
    except ValueError:
        names = sorted({*_OPTIMIZERS, *(m.value for m in OptimizerNames)})
        raise ValueError(f"[TrainingArguments] optim: expected one of {', '.join(names)}, got {value!r}") from None
