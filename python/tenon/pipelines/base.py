"""What all pipelines share: batching of lists, generators and data sets, and options given once or per call."""
from __future__ import annotations

import math
from typing import Any, ClassVar, Iterable, Iterator

from ..conversion import device
from ..modeling import PreTrainedModel

DEFAULT_BATCH_SIZE = 32  # texts are computed without their padding, so that larger batches cost nothing per text


class PipelineException(ValueError):
    """An input that the task cannot work on."""

    def __init__(self, task: str, model: str, reason: str) -> None:
        super().__init__(f"[{task}] {reason}")
        self.task, self.model = task, model


class Pipeline:
    """From raw inputs to results. Several threads may call one pipeline at once.

    Called with one input it gives one result, with a list a list, with a generator or data set a generator.
    """

    task: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()  # the arguments of a call, which the constructor takes as defaults
    needs: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def __init__(self, model: PreTrainedModel, tokenizer: Any = None, image_processor: Any = None, *, feature_extractor: Any = None,
                 device: Any = None, batch_size: "int | None" = None, **options: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor if image_processor is not None else feature_extractor
        self.batch_size = batch_size
        if device is not None:
            model.to(device=device)
        for name in self.needs:
            if getattr(self, name) is None:
                raise ValueError(f"[{self.task}] expected {name}=, since the model is given as an object")
        self._defaults = self._checked(options)

    @property
    def device(self) -> device:
        return self.model.device

    @property
    def feature_extractor(self) -> Any:
        return self.image_processor

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Writes the model and what prepares its inputs into a folder."""
        for part in (self.model, self.tokenizer, self.image_processor):
            if part is not None:
                part.save_pretrained(save_directory)

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in options if name not in self.options]
        if unknown:
            raise TypeError(f"[{self.task}] unknown arguments: {', '.join(sorted(unknown))}; known are: {', '.join(self.options)}")
        return options

    def __call__(self, inputs: Any, *, batch_size: "int | None" = None, num_workers: Any = None, **options: Any) -> Any:
        """Runs the task. batch_size: inputs per forward pass (32 unless told otherwise). Errors: TypeError for unknown options."""
        merged = {**self._defaults, **self._checked(options)}
        size = batch_size or self.batch_size or DEFAULT_BATCH_SIZE
        if self._is_single(inputs):
            return next(self._run([inputs], 1, merged))
        results = self._run(inputs, size, merged)
        return list(results) if isinstance(inputs, (list, tuple)) else results

    def _is_single(self, inputs: Any) -> bool:
        return isinstance(inputs, (str, bytes, dict)) or hasattr(inputs, "__array__") or not hasattr(inputs, "__iter__")

    def _run(self, inputs: Iterable[Any], size: int, options: dict[str, Any]) -> Iterator[Any]:
        chunk: list[Any] = []
        for item in inputs:
            chunk.append(item)
            if len(chunk) == size:
                yield from self.process(chunk, options)
                chunk = []
        if chunk:
            yield from self.process(chunk, options)

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        """The results of some inputs, in order."""
        raise NotImplementedError


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def apply_function(logits: list[float], name: "str | None", config: Any) -> list[float]:
    """Scores from logits: by `name` (sigmoid, softmax, none), else as Transformers chooses by the configuration."""
    if name is None:
        kind = config.problem_type
        name = ("none" if kind == "regression" else "sigmoid" if kind == "multi_label_classification" or config.num_labels == 1 else "softmax")
    name = str(getattr(name, "value", name)).lower()
    if name == "sigmoid":
        return [_sigmoid(x) for x in logits]
    if name == "softmax":
        top = max(logits)
        powers = [math.exp(x - top) for x in logits]
        total = sum(powers)
        return [p / total for p in powers]
    if name != "none":
        raise ValueError(f"[pipeline] function_to_apply: expected sigmoid, softmax or none, got {name!r}")
    return logits


def labelled(scores: list[float], config: Any) -> list[dict[str, Any]]:
    return [{"label": config.id2label.get(i, f"LABEL_{i}"), "score": score} for i, score in enumerate(scores)]


def best(results: list[dict[str, Any]], top_k: "int | None") -> list[dict[str, Any]]:
    """The top_k results with the largest scores; all for None."""
    return sorted(results, key=lambda r: -r["score"])[:top_k]
