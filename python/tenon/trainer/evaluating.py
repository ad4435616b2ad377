"""The part of the Trainer that evaluates and predicts."""
from __future__ import annotations

import math
import time
from typing import Any

from .._lazy import np
from ..conversion import Tensor, array_of, as_tensor
from ..grad_mode import no_grad
from .collators import PAD_LABEL
from .columns import main_input
from .results import EvalLoopOutput, EvalPrediction, PredictionOutput, has_length, speed_metrics


def to_arrays(value: Any) -> Any:
    """Tensors within tuples, lists and dicts as NumPy arrays."""
    if isinstance(value, (tuple, list)):
        return type(value)(to_arrays(v) for v in value)
    if isinstance(value, dict):
        return {k: to_arrays(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return np.array(array_of(value.detach().cpu()))
    return value


def joined(parts: list[Any]) -> Any:
    """Arrays one after another; their other dimensions are padded with -100 to the largest."""
    first = parts[0]
    if isinstance(first, (tuple, list)):
        return type(first)(joined([p[i] for p in parts]) for i in range(len(first)))
    if isinstance(first, dict):
        return {k: joined([p[k] for p in parts]) for k in first}
    arrays = [np.atleast_1d(np.asarray(p)) for p in parts]
    if len({a.shape[1:] for a in arrays}) > 1:
        most = [max(sizes) for sizes in zip(*(a.shape[1:] for a in arrays))]
        arrays = [np.pad(a, [(0, 0), *((0, m - n) for m, n in zip(most, a.shape[1:]))], constant_values=PAD_LABEL) for a in arrays]
    return np.concatenate(arrays)


def plain_numbers(value: Any) -> Any:
    """NumPy's and tensors' numbers as Python's."""
    if isinstance(value, dict):
        return {k: plain_numbers(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_numbers(v) for v in value)
    if hasattr(value, "item") and (getattr(value, "size", None) == 1 or (isinstance(value, Tensor) and value.numel() == 1)):
        return value.item()
    return value


def batch_size_of(batch: Any) -> "int | None":
    """The rows of the first tensor in a batch."""
    for value in batch.values() if hasattr(batch, "values") else batch if isinstance(batch, (list, tuple)) else ():
        if hasattr(value, "shape") and len(value.shape):
            return int(value.shape[0])
    return None


class Evaluating:
    """evaluate(), predict() and their loop."""

    args: Any
    model: Any
    eval_dataset: Any
    compute_metrics: Any
    preprocess_logits_for_metrics: Any
    label_names: list[str]
    callback_handler: Any
    state: Any
    control: Any
    is_in_train: bool
    optimizer: Any
    _preparation_time: "float | None" = None

    def evaluate(self, eval_dataset: Any = None, ignore_keys: "list[str] | None" = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Loss, metrics and speed on a dataset (or each of a dict of them, or the eval_dataset of a name), under prefixed names, logged.

        Errors: ValueError without a dataset or for an empty one.
        """
        chosen = eval_dataset if eval_dataset is not None else self.eval_dataset
        if isinstance(chosen, dict) and not hasattr(chosen, "column_names"):
            metrics: dict[str, float] = {}
            for name, part in chosen.items():
                metrics.update(self.evaluate(part if eval_dataset is not None else name, ignore_keys, f"{metric_key_prefix}_{name}"))
            return metrics
        loader = self.get_eval_dataloader(eval_dataset)
        start = time.time()
        output = self.evaluation_loop(loader, "Evaluation", True if self.compute_metrics is None else None, ignore_keys, metric_key_prefix)
        metrics = output.metrics or {}
        metrics.update(self._speed(metric_key_prefix, start, output))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(self, test_dataset: Any, ignore_keys: "list[str] | None" = None, metric_key_prefix: str = "test") -> PredictionOutput:
        """Predictions, labels and, where there are labels, metrics of a dataset. Errors: ValueError for an empty one."""
        loader = self.get_test_dataloader(test_dataset)
        start = time.time()
        output = self.evaluation_loop(loader, "Prediction", None, ignore_keys, metric_key_prefix)
        metrics = output.metrics or {}
        metrics.update(self._speed(metric_key_prefix, start, output))
        self.control = self.callback_handler.on_predict(self.args, self.state, self.control, metrics)
        return PredictionOutput(output.predictions, output.label_ids, metrics)

    def _speed(self, prefix: str, start: float, output: EvalLoopOutput) -> dict[str, float]:
        count = output.num_samples or 0
        return speed_metrics(prefix, start, num_samples=count, num_steps=math.ceil(count / self.args.eval_batch_size))

    def evaluation_loop(self, dataloader: Any, description: str, prediction_loss_only: "bool | None" = None,
                        ignore_keys: "list[str] | None" = None, metric_key_prefix: str = "eval") -> EvalLoopOutput:
        """Runs the model over a loader; works with and without labels. The loss is the mean over examples."""
        args = self.args
        loss_only = args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        start = time.time()
        self.model.eval()
        if self.optimizer is None:  # Transformers reports this of models that were not trained yet
            self._preparation_time = round(time.time() - start, 4)
        self.callback_handler.eval_dataloader = dataloader
        main = main_input(self.model)
        losses: list[tuple[float, int]] = []
        kept: dict[str, list[Any]] = {"predictions": [], "labels": [], "inputs": []}
        by_batch = args.batch_eval_metrics and description != "Prediction"
        metrics: "dict[str, Any] | None" = None
        pending: "dict[str, Any] | None" = None
        seen = 0
        try:
            for inputs in dataloader:
                size = batch_size_of(inputs) or 1
                seen += size
                loss, logits, labels = self.prediction_step(self.model, inputs, loss_only, ignore_keys)
                if loss is not None:
                    losses.append((float(loss.item() if hasattr(loss, "item") else loss), size))
                if logits is not None and self.preprocess_logits_for_metrics is not None:
                    logits = self.preprocess_logits_for_metrics(logits, labels)
                asked = to_arrays(inputs[main]) if "inputs" in args.include_for_metrics and main in inputs else None
                logits, labels = to_arrays(logits), to_arrays(labels)
                if by_batch and self.compute_metrics is not None and logits is not None and labels is not None:
                    if pending is not None:
                        self.compute_metrics(EvalPrediction(**pending), compute_result=False)
                    pending = {"predictions": logits, "label_ids": labels, "inputs": asked,
                               "losses": np.full(size, losses[-1][0], np.float32) if losses and "loss" in args.include_for_metrics else None}
                if not by_batch:
                    for name, value in (("predictions", logits), ("labels", labels), ("inputs", asked)):
                        if value is not None:
                            kept[name].append(value)
                self.control = self.callback_handler.on_prediction_step(args, self.state, self.control)
                self._answer_interrupt()
        finally:
            if self.is_in_train:
                self.model.train()
        if not seen:
            raise ValueError(f"[Trainer] {description.lower()}: expected a dataset with examples, got an empty one")
        if pending is not None:
            metrics = self.compute_metrics(EvalPrediction(**pending), compute_result=True)
        arrays = {name: (joined(parts) if args.eval_do_concat_batches else parts) if parts else None for name, parts in kept.items()}
        all_losses = np.repeat([v for v, _ in losses], [n for _, n in losses]).astype(np.float32) if losses else None
        if self.compute_metrics is not None and arrays["predictions"] is not None and arrays["labels"] is not None:
            metrics = self.compute_metrics(EvalPrediction(arrays["predictions"], arrays["labels"], arrays["inputs"],
                                                          all_losses if "loss" in args.include_for_metrics else None))
        return EvalLoopOutput(arrays["predictions"], arrays["labels"], self._named_metrics(metrics, all_losses, metric_key_prefix),
                              self._samples(dataloader, seen))

    def _named_metrics(self, metrics: Any, losses: Any, prefix: str) -> dict[str, float]:
        if metrics is not None and not hasattr(metrics, "items"):
            raise TypeError(f"[Trainer] compute_metrics: expected a dict of names and numbers, got {type(metrics).__name__}")
        named = dict(plain_numbers(metrics) or {})
        if losses is not None:
            finite = losses[np.isfinite(losses)]
            chosen = finite if self.args.logging_nan_inf_filter and finite.size else losses
            named[f"{prefix}_loss"] = float(chosen.mean(dtype=np.float64))
        if self._preparation_time is not None:
            named[f"{prefix}_model_preparation_time"] = self._preparation_time
        return {k if k.startswith(f"{prefix}_") else f"{prefix}_{k}": v for k, v in named.items()}

    @staticmethod
    def _samples(dataloader: Any, seen: int) -> int:
        dataset = getattr(dataloader, "dataset", None)
        return len(dataset) if dataset is not None and has_length(dataset) else seen

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool,
                        ignore_keys: "list[str] | None" = None) -> tuple[Any, Any, Any]:
        """Loss, logits and labels of a batch; those that are not there are None."""
        inputs = self._prepare_inputs(inputs)
        has_labels = bool(self.label_names) and all(inputs.get(n) is not None for n in self.label_names)
        wants_loss = has_labels or (not self.label_names and bool(inputs.get("return_loss")))
        if ignore_keys is None:
            ignore_keys = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", None) or ["past_key_values"]
        labels: Any = None
        if has_labels:
            labels = tuple(inputs[n] for n in self.label_names)
            labels = labels[0] if len(labels) == 1 else labels
        loss: Any = None
        with no_grad(), self.compute_loss_context_manager():
            if wants_loss:
                loss, outputs = self.compute_loss(model, dict(inputs), return_outputs=True, num_items_in_batch=self._num_items([inputs]))
                loss = loss.detach().mean() if hasattr(loss, "detach") else loss
            else:
                outputs = model(**inputs)
        if prediction_loss_only:
            return loss, None, None
        if isinstance(outputs, dict):
            logits = tuple(v for k, v in outputs.items() if k not in ignore_keys and not (wants_loss and k == "loss"))
        elif isinstance(outputs, (tuple, list)):
            logits = tuple(outputs[1:] if wants_loss else outputs)
        else:
            logits = (outputs,)
        logits = tuple(as_tensor(v).detach() if not isinstance(v, (tuple, list, dict)) else v for v in logits)
        return loss, logits[0] if len(logits) == 1 else logits, labels

    # What the Trainer gives
    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        raise NotImplementedError

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        raise NotImplementedError

    def log(self, logs: dict[str, float], start_time: "float | None" = None) -> None:
        raise NotImplementedError

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        raise NotImplementedError

    def compute_loss_context_manager(self) -> Any:
        raise NotImplementedError

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _num_items(self, batches: list[Any]) -> "int | None":
        raise NotImplementedError

    def _answer_interrupt(self) -> None:
        raise NotImplementedError
