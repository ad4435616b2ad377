"""The loss of a step: what it is divided by under gradient accumulation, label smoothing, and where it stopped being a number."""
from __future__ import annotations

from typing import Any

from .._lazy import np
from ..conversion import Tensor, array_of, wrap
from .collators import PAD_LABEL, numbers
from .columns import unwrap


def shifts_labels(model: Any) -> bool:
    """True for causal language models: the first label of a row is nobody's answer."""
    base = unwrap(model)
    name = getattr(base, "core_name", "") or type(base).__name__
    return name.endswith(("ForCausalLM", "LMHeadModel")) and not getattr(getattr(base, "config", None), "is_encoder_decoder", False)


def count_labels(batch: Any, shifted: bool) -> "int | None":
    """How many labels a batch's loss averages over; None if it has none that can be counted."""
    if not hasattr(batch, "get"):
        return None
    labels = batch.get("shift_labels")
    if labels is not None:
        shifted = False
    else:
        labels = batch.get("labels")
    if labels is None:
        return None
    array = numbers(labels)
    if array.dtype.kind not in "iuf":
        return None
    return _count(array[..., 1:] if shifted and array.ndim else array)


def _count(array: Any) -> int:
    return int((array != PAD_LABEL).sum())


def smoothed_loss(outputs: Any, labels: Any, epsilon: float, shifted: bool, num_items: "int | None") -> Tensor:
    """(1 - epsilon) times the cross-entropy plus epsilon times the mean of -log p over the classes, averaged over num_items labels."""
    from ..nn import functional

    logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
    array = numbers(labels)
    if shifted:  # the labels move, so that the logits need not
        array = np.concatenate([array[..., 1:], np.full_like(array[..., :1], PAD_LABEL)], axis=-1)
    total = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), wrap(array.reshape(-1)), ignore_index=PAD_LABEL, reduction="sum",
                                     label_smoothing=epsilon)
    return total / max(1, num_items if num_items is not None else _count(array))


def broken_operation(model: Any, inputs: dict[str, Any]) -> str:
    """The first operation of a step that gives NaN or Inf, as ", in OPERATION: ..."; "" if that cannot be told."""
    from ..grad_mode import detect_anomaly

    model.train()
    try:
        with detect_anomaly():
            model(**inputs)["loss"].backward()
    except RuntimeError as error:
        return f", in {error}"
    except Exception:  # a diagnosis must not hide what it is for
        return ""
    return ""


def first_not_finite(model: Any, inputs: dict[str, Any]) -> str:
    """Where a forward pass first gives NaN or Inf: an input, a parameter, a layer and operation, the logits or the loss."""
    from ..grad_mode import no_grad

    def broken(value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype.is_floating_point and not np.isfinite(array_of(value.cpu())).all()

    for name, value in inputs.items():
        if broken(value):
            return f"the input {name}"
    for name, parameter in model.named_parameters():
        if broken(parameter):
            return f"the parameter {name}"
    was_training = getattr(model, "training", True)
    try:
        model.eval()
        with no_grad():
            outputs = model(**inputs, output_hidden_states=True)
        for name in ("hidden_states", "encoder_hidden_states", "decoder_hidden_states"):
            for layer, state in enumerate((outputs.get(name) if isinstance(outputs, dict) else None) or ()):
                if broken(state):
                    return ("the embeddings" if layer == 0 else f"layer {layer - 1} ({name})") + broken_operation(model, inputs)
        for name, value in outputs.items() if isinstance(outputs, dict) else ():
            if broken(value):
                return f"the {name}" + broken_operation(model, inputs)
    except Exception:  # a model of the user's may not have hidden states
        pass
    finally:
        model.train(was_training)
    return "the loss" + broken_operation(model, inputs)


def broken_gradient(model: Any) -> str:
    """The first parameter whose gradient has NaN or Inf."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not np.isfinite(array_of(parameter.grad.cpu())).all():
            return f"the gradient of {name}"
    return "a gradient"


def token_operations(model: Any, inputs: Any, main: str) -> float:
    """6 x inputs x parameters outside of tables: the operations of a forward and a backward pass, as Transformers counts them."""
    value = inputs.get(main) if hasattr(inputs, "get") else None
    if value is None or not hasattr(value, "numel"):
        return 0.0
    return 6.0 * int(value.numel()) * _operating_parameters(model)


_TABLES = ("embeddings.weight", "word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", "embed_tokens.weight",
           "wte.weight", "wpe.weight", "shared.weight", "token_embedding.weight", "position_embedding.weight", "embed_positions.weight")


def _operating_parameters(model: Any) -> int:
    cached = model.__dict__.get("_operating_parameters") if hasattr(model, "__dict__") else None
    if cached is None:
        cached = sum(p.numel() for n, p in model.named_parameters() if not n.endswith(_TABLES))
        model.__dict__["_operating_parameters"] = cached
    return int(cached)
