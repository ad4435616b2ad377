"""Metrics with the shape of the package evaluate: load("accuracy").compute(predictions=..., references=...)."""
from __future__ import annotations

from typing import Any, Callable, Iterable

from ._lazy import np
from .conversion import Tensor, array_of

__all__ = ["Metric", "combine", "load"]


def _array(values: Any, name: str) -> Any:
    array = np.asarray(array_of(values) if isinstance(values, Tensor) else values)
    if array.dtype.kind not in "biufUS" or array.ndim != 1:
        raise ValueError(f"[metrics] {name}: expected a list of numbers or names, got {array.ndim} dimensions of {array.dtype}")
    return array


def _weights(sample_weight: Any, count: int) -> Any:
    if sample_weight is None:
        return np.ones(count)
    weights = np.asarray(sample_weight, float)
    if weights.shape != (count,):
        raise ValueError(f"[metrics] sample_weight: expected {count} numbers, got {weights.shape}")
    return weights


def _accuracy(predictions: Any, references: Any, normalize: bool = True, sample_weight: Any = None) -> dict[str, Any]:
    weights = _weights(sample_weight, len(references))
    right = float((weights * (predictions == references)).sum())
    return {"accuracy": right / float(weights.sum()) if normalize else right}


def _counts(predictions: Any, references: Any, labels: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
    """For each label the weights of true positives, predictions and references."""
    weights = _weights(sample_weight, len(references))
    chosen = np.unique(np.concatenate([predictions, references])) if labels is None else np.asarray(labels)
    rows = [((weights * ((predictions == c) & (references == c))).sum(), (weights * (predictions == c)).sum(),
             (weights * (references == c)).sum()) for c in chosen]
    true, predicted, actual = (np.array(x, float) for x in zip(*rows))
    return chosen, true, predicted, actual


def _ratio(top: Any, bottom: Any, zero: float) -> Any:
    return np.divide(top, bottom, out=np.full(np.shape(top), zero, float), where=np.asarray(bottom) != 0)


def _averaged(which: str, predictions: Any, references: Any, labels: Any, pos_label: Any, average: Any, sample_weight: Any,
              zero_division: Any) -> dict[str, Any]:
    """Precision, recall or F1: for the positive label, for each label (average=None), or averaged over labels (micro, macro, weighted)."""
    zero = 0.0 if zero_division in ("warn", 0, None) else float(zero_division)
    if average == "binary":
        there = np.unique(np.concatenate([predictions, references])).tolist()
        if len(there) > 2 or (pos_label not in there and len(there) == 2):
            raise ValueError(f"[metrics] {which}: average=\"binary\" expects two labels with {pos_label!r} among them, got {there}; "
                             "choose average=\"micro\", \"macro\", \"weighted\" or None")
        labels = [pos_label]
    elif average not in (None, "micro", "macro", "weighted"):
        raise ValueError(f"[metrics] {which}: average: expected binary, micro, macro, weighted or None, got {average!r}")
    _, true, predicted, actual = _counts(predictions, references, labels, sample_weight)
    if average == "micro":
        true, predicted, actual = (x.sum(keepdims=True) for x in (true, predicted, actual))
    scores = {"precision": lambda: _ratio(true, predicted, zero), "recall": lambda: _ratio(true, actual, zero),
              "f1": lambda: _ratio(2 * true, predicted + actual, zero)}[which]()
    if average is None:
        return {which: scores}
    if average == "weighted":
        return {which: float(np.average(scores, weights=actual)) if actual.sum() else zero}
    return {which: float(scores.mean())}


def _of_kind(which: str) -> Callable[..., dict[str, Any]]:
    def compute(predictions: Any, references: Any, labels: Any = None, pos_label: Any = 1, average: Any = "binary", sample_weight: Any = None,
                zero_division: Any = "warn") -> dict[str, Any]:
        return _averaged(which, predictions, references, labels, pos_label, average, sample_weight, zero_division)

    return compute


def _matthews(predictions: Any, references: Any, sample_weight: Any = None, average: Any = None) -> dict[str, Any]:
    """(c s - sum p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), 0 where the root is 0."""
    _, true, predicted, actual = _counts(predictions, references, None, sample_weight)
    total = actual.sum()
    top = true.sum() * total - (predicted * actual).sum()
    bottom = (total**2 - (predicted**2).sum()) * (total**2 - (actual**2).sum())
    return {"matthews_correlation": float(top / np.sqrt(bottom)) if bottom > 0 else 0.0}


def _correlation(x: Any, y: Any, name: str) -> float:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 2:
        raise ValueError(f"[metrics] {name}: expected at least 2 values, got {len(x)}")
    x, y = x - x.mean(), y - y.mean()
    bottom = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / bottom) if bottom > 0 else float("nan")


def _pearson(predictions: Any, references: Any, return_pvalue: bool = False) -> dict[str, Any]:
    if return_pvalue:
        raise ValueError("[metrics] pearsonr: return_pvalue is not supported; scipy.stats.pearsonr gives it")
    return {"pearsonr": _correlation(references, predictions, "pearsonr")}


def _ranks(values: Any) -> Any:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _spearman(predictions: Any, references: Any) -> dict[str, Any]:
    return {"spearmanr": _correlation(_ranks(references), _ranks(predictions), "spearmanr")}


def _mse(predictions: Any, references: Any, squared: bool = True) -> dict[str, Any]:
    mean = float(((np.asarray(predictions, float) - np.asarray(references, float)) ** 2).mean())
    return {"mse": mean if squared else mean**0.5}


def perplexity(predictions: Any, model: Any, tokenizer: Any = None, batch_size: int = 16, add_start_token: bool = True,
               max_length: "int | None" = None) -> dict[str, Any]:
    """exp of the mean -log p of each text's tokens under a causal language model (an object, or a folder or hub name that is opened).

    Returns {"perplexities": one of each text, "mean_perplexity"}. Errors: ValueError for texts without a token to predict.
    """
    from .auto import AutoModelForCausalLM
    from .grad_mode import no_grad
    from .tokenization import AutoTokenizer

    if isinstance(model, str):
        tokenizer = AutoTokenizer.from_pretrained(model) if tokenizer is None else tokenizer
        model = AutoModelForCausalLM.from_pretrained(model)
    if tokenizer is None:
        raise ValueError("[metrics] perplexity: expected a tokenizer beside the model")
    start = [tokenizer.bos_token_id] if add_start_token and tokenizer.bos_token_id is not None else []
    results: list[float] = []
    with no_grad():
        for begin in range(0, len(predictions), batch_size):
            rows = [start + list(tokenizer(text, truncation=max_length is not None, max_length=max_length,
                                           add_special_tokens=not start).input_ids)
                    for text in predictions[begin: begin + batch_size]]
            if min(map(len, rows)) < 2:
                raise ValueError("[metrics] perplexity: expected texts of at least two tokens (one, with a start token)")
            length = max(map(len, rows))
            ids = np.array([row + [0] * (length - len(row)) for row in rows], np.int64)
            mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int64)
            logits = array_of(model(input_ids=ids, attention_mask=mask).logits)[:, :-1].astype(float)
            logits -= logits.max(axis=-1, keepdims=True)
            losses = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, ids[:, 1:, None], axis=-1)[..., 0]
            results += np.exp((losses * mask[:, 1:]).sum(axis=1) / mask[:, 1:].sum(axis=1)).tolist()
    return {"perplexities": results, "mean_perplexity": float(np.mean(results))}


_METRICS: dict[str, tuple[Callable[..., dict[str, Any]], ...]] = {
    "accuracy": (_accuracy,), "f1": (_of_kind("f1"),), "precision": (_of_kind("precision"),), "recall": (_of_kind("recall"),),
    "matthews_correlation": (_matthews,), "matthews_corrcoef": (_matthews,), "pearsonr": (_pearson,), "spearmanr": (_spearman,), "mse": (_mse,),
    "glue/cola": (_matthews,), "glue/stsb": (_pearson, _spearman), "glue/mrpc": (_accuracy, _of_kind("f1")),
    "glue/qqp": (_accuracy, _of_kind("f1")),
    **{f"glue/{task}": (_accuracy,) for task in ("sst2", "mnli", "mnli_matched", "mnli_mismatched", "qnli", "rte", "wnli", "hans")},
}
_GLUE_NAMES = {"pearsonr": "pearson"}


class Metric:
    """A metric; add() and add_batch() collect what compute() then measures."""

    def __init__(self, name: str, functions: "tuple[Callable[..., dict[str, Any]], ...]", options: "dict[str, Any] | None" = None) -> None:
        self.name, self._functions, self._options = name, functions, dict(options or {})
        self._predictions: list[Any] = []
        self._references: list[Any] = []

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Adds one pair."""
        self.add_batch(predictions=[prediction], references=[kwargs.get("references", reference)])

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Adds several pairs."""
        for kept, values in ((self._predictions, predictions), (self._references, references)):
            kept.extend(values.tolist() if hasattr(values, "tolist") else values)

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Measures predictions and references, or what was added. Errors: ValueError for lists of different lengths and empty ones."""
        if self.name == "perplexity":
            return perplexity(predictions if predictions is not None else self._predictions, **{**self._options, **kwargs})
        if predictions is None and references is None:
            predictions, references = self._predictions, self._references
            self._predictions, self._references = [], []
        if predictions is None or references is None:
            raise ValueError(f"[metrics] {self.name}: expected predictions and references")
        p, r = _array(predictions, "predictions"), _array(references, "references")
        if len(p) != len(r) or not len(p):
            raise ValueError(f"[metrics] {self.name}: expected as many predictions as references, and some, got {len(p)} and {len(r)}")
        result: dict[str, Any] = {}
        for function in self._functions:
            result.update(function(p, r, **{**self._options, **kwargs}))
        return {_GLUE_NAMES.get(k, k): v for k, v in result.items()} if self.name.startswith("glue/") else result


def load(path: str, config_name: "str | None" = None, **options: Any) -> Metric:
    """The metric of a name: accuracy, f1, precision, recall, matthews_correlation, pearsonr, spearmanr, mse, perplexity, glue with a task.

    Errors: ValueError for a name that is not here.
    """
    name = path.rstrip("/").rpartition("/")[2] if "/" in path and path not in _METRICS else path
    name = f"glue/{config_name}" if name == "glue" else name
    options = {k: v for k, v in options.items() if k not in ("module_type", "experiment_id", "cache_dir", "keep_in_memory", "num_process",
                                                             "process_id")}
    if name == "perplexity":
        return Metric(name, (), options)
    if name not in _METRICS:
        raise ValueError(f"[metrics] load: expected one of {', '.join([*_METRICS, 'perplexity'])}, got {path!r}")
    return Metric(name, _METRICS[name], options)


class _Combined:
    def __init__(self, metrics: list[Metric]) -> None:
        self.metrics = metrics

    def add_batch(self, **kwargs: Any) -> None:
        for metric in self.metrics:
            metric.add_batch(**kwargs)

    def compute(self, **kwargs: Any) -> dict[str, Any]:
        return {k: v for metric in self.metrics for k, v in metric.compute(**kwargs).items()}


def combine(evaluations: "Iterable[str | Metric]") -> Any:
    """Several metrics as one whose compute() returns them all."""
    return _Combined([load(m) if isinstance(m, str) else m for m in evaluations])
