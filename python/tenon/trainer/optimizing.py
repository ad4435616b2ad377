"""The optimiser and the schedule that training arguments ask for, and the noise of NEFTune."""
from __future__ import annotations

import re
from typing import Any

from .names import OptimizerNames

_NO_DECAY = re.compile(r"bias|norm\w*(?:$|\.)|(?:^|\.)ln(?:_\w+)?\.", re.IGNORECASE)


def decayed_names(model: Any) -> list[str]:
    """The parameters that weight decay shrinks: all but biases and the weights of norms."""
    norms: set[str] = set()
    if callable(getattr(model, "named_modules", None)):
        norms = {f"{name}." for name, module in model.named_modules() if name and type(module).__name__.endswith("Norm")}
    return [n for n, _ in model.named_parameters() if not _NO_DECAY.search(n) and not any(n.startswith(m) for m in norms)]


def option_text(text: "str | None") -> dict[str, Any]:
    """optim_args "a=1,b=(0.9, 0.99),c=True" as a dict of Python values. Errors: ValueError for another form."""
    import ast

    options: dict[str, Any] = {}
    for part in re.split(r",(?![^(\[]*[)\]])", (text or "").replace(" ", "")):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"[TrainingArguments] optim_args: expected NAME=VALUE,..., got {text!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            options[name] = value
    return options


def optimizer_class(args: Any) -> tuple[Any, dict[str, Any]]:
    """The class of args.optim and its arguments; optim_args come last. Errors: ValueError for optim_args of another form."""
    from .. import optim

    adam = {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    chosen: dict[OptimizerNames, tuple[str, dict[str, Any]]] = {
        OptimizerNames.ADAMW_TORCH: ("AdamW", adam),
        OptimizerNames.ADAMW_TORCH_FUSED: ("AdamW", adam),
        OptimizerNames.ADAMW_8BIT: ("AdamW8bit", adam),
        OptimizerNames.ADAFACTOR: ("Adafactor", {"scale_parameter": False, "relative_step": False}),
        OptimizerNames.LION: ("Lion", {"betas": (args.adam_beta1, args.adam_beta2)}),
        OptimizerNames.SGD: ("SGD", {}),
    }
    name, options = chosen[args.optim]
    return getattr(optim, name), {"lr": args.learning_rate, **options, **option_text(args.optim_args)}


def embedding_noise(model: Any, inputs: dict[str, Any], alpha: float) -> dict[str, Any]:
    """NEFTune: input_ids become inputs_embeds with noise, uniform in +-alpha / sqrt(T C) (arXiv 2310.05914)."""
    from ..functions import rand
    from ..nn import functional

    if inputs.get("input_ids") is None or inputs.get("inputs_embeds") is not None:
        return inputs
    embeds = functional.embedding(inputs["input_ids"], model.get_input_embeddings().weight)
    span = alpha / (embeds.shape[1] * embeds.shape[2]) ** 0.5
    noise = (rand(*embeds.shape) * 2 - 1) * span
    return {**{k: v for k, v in inputs.items() if k != "input_ids"}, "inputs_embeds": embeds + noise}
