"""Making quantised checkpoints: quantize(), on a text of the user's."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Iterable, Sequence

from . import _core, hub

__all__ = ["QuantizationReport", "quantize"]

_METHODS = ("awq", "gptq", "rtn", "int8", "fp8")
_OPTIONS = {"samples": "n_samples", "length": "max_calib_seq_len"}


@dataclass
class QuantizationReport:
    """What quantize() did.

    layers: for each Linear a dict of name, quantized, note (why it was left, or what went otherwise than asked), error (the share of its
    output's energy that is wrong), ratio (AWQ's exponent) and tokens (of an expert). errors: of each decoder layer on the text held out.
    Perplexities are None where there was no text to measure them on.
    """

    output: str
    layers: "list[dict[str, Any]]" = field(repr=False)
    errors: "list[float]" = field(repr=False)
    notes: "list[str]"
    bytes_before: int
    bytes_after: int
    perplexity_before: "float | None"
    perplexity_after: "float | None"
    seconds: float

    @property
    def left(self) -> "dict[str, str]":
        """The layers that stay as they are, and why."""
        return {layer["name"]: layer["note"] for layer in self.layers if not layer["quantized"]}


def _texts(given: Any, what: str) -> "list[str]":
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, os.PathLike):
        with open(given, encoding="utf-8", errors="replace") as file:
            return [file.read()]
    texts = list(given)
    wrong = next((t for t in texts if not isinstance(t, str)), None)
    if wrong is not None:
        raise TypeError(f"[quantize] {what}: expected a text, a pathlib.Path or texts, got {type(wrong).__name__} among them")
    return texts


def quantize(pretrained_model_name_or_path: "str | os.PathLike[str]", save_directory: "str | os.PathLike[str]", calib_data: "str | os.PathLike[str] | Iterable[str] | None" = None,
             *, method: str = "awq", group_size: int = 128, symmetric: "bool | None" = None, format: "str | None" = None, held_out: Any = None,
             n_samples: int = 128, max_calib_seq_len: int = 512, held_out_windows: int = 32, modules_to_not_convert: "Sequence[str] | None" = None,
             clip: bool = True, desc_act: bool = False, damp_percent: float = 0.01, smooth: "float | None" = None, max_shard_size: "int | str" = "5GB",
             disable_tqdm: bool = False) -> QuantizationReport:
    """Quantises a decoder's checkpoint, one layer at a time, and saves what Tenon, Transformers, AutoAWQ and vLLM open.

    calib_data: a text, texts, or the pathlib.Path of a file: what AWQ, GPTQ and SmoothQuant (method="int8", smooth=0.5) look at; its last
    tenth measures perplexity unless held_out does. method: "awq", "gptq", "rtn" (rounding to nearest), "int8" or "fp8"; the last three need
    no text. symmetric: 4 bits without zero points, by default for "gptq" alone. format: of 4 bits, "awq", "gptq" or "compressed-tensors".
    modules_to_not_convert: parts of the names of layers that stay as they are; embeddings, norms, routers and the head always do.
    Errors: FileNotFoundError; TypeError; ValueError for text of less than 32 tokens, options that do not fit, models that are no decoders.
    """
    from .modeling import _bytes

    if method not in _METHODS:
        raise ValueError(f"[quantize] method: expected one of {', '.join(_METHODS)}, got {method!r}")
    options = _core.QuantizeOptions()
    options.method, options.group_size, options.clip, options.desc_act = method, group_size, clip, desc_act
    options.symmetric = method == "gptq" if symmetric is None else symmetric
    options.damp_percent, options.smooth, options.format = damp_percent, smooth, format or ""
    options.samples, options.length, options.held_out = n_samples, max_calib_seq_len, held_out_windows
    options.modules_to_not_convert = list(modules_to_not_convert or ())
    options.max_shard_bytes = _bytes(max_shard_size)
    folder = hub.resolve(os.fspath(pretrained_model_name_or_path))
    texts, unseen = _texts(calib_data, "calib_data"), _texts(held_out, "held_out")
    from tqdm.auto import tqdm

    with tqdm(desc=f"quantising ({method})", unit="layer", disable=disable_tqdm) as bar:

        def progress(layer: int, layers: int, left: float) -> None:
            bar.total, bar.n = layers, layer
            bar.refresh()

        report = _core.quantize(folder, os.fspath(save_directory), texts, unseen, options, progress)
    return QuantizationReport(output=os.fspath(save_directory), layers=report.layers, errors=report.errors, notes=report.notes,
                              bytes_before=report.bytes_before, bytes_after=report.bytes_after, perplexity_before=report.perplexity_before or None,
                              perplexity_after=report.perplexity_after or None, seconds=report.seconds)
