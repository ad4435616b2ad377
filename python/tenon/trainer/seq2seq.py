"""Seq2SeqTrainer: a Trainer that can generate during evaluation."""
from __future__ import annotations

from typing import Any

from .._lazy import np
from ..conversion import array_of, wrap
from ..grad_mode import no_grad
from .collators import PAD_LABEL
from .results import PredictionOutput
from .trainer import Trainer


class Seq2SeqTrainer(Trainer):
    """With predict_with_generate=True, predictions are generated ids instead of logits; metrics see texts after decoding.

    evaluate() and predict() take generation's options (max_length, max_new_tokens, num_beams, ...).
    """

    def __init__(self, model: Any = None, args: Any = None, *rest: Any, **kwargs: Any) -> None:
        super().__init__(model, args, *rest, **kwargs)
        self._generation: dict[str, Any] = {}
        config = getattr(self.args, "generation_config", None)
        if config is not None:
            if isinstance(config, str):
                from ..generation import GenerationConfig

                config = GenerationConfig.from_pretrained(config)
            self.model.generation_config = config

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        options = dict(given)
        longest = getattr(self.args, "generation_max_length", None)
        if options.get("max_length") is None and options.get("max_new_tokens") is None and longest is not None:
            options["max_length"] = longest
        if options.get("num_beams") is None and getattr(self.args, "generation_num_beams", None) is not None:
            options["num_beams"] = self.args.generation_num_beams
        return {k: v for k, v in options.items() if v is not None}

    def evaluate(self, eval_dataset: Any = None, ignore_keys: "list[str] | None" = None, metric_key_prefix: str = "eval",
                 **gen_kwargs: Any) -> dict[str, float]:
        """As Trainer.evaluate(); further arguments are generation's."""
        if gen_kwargs or not self.is_in_train:
            self._generation = self._options(gen_kwargs)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(self, test_dataset: Any, ignore_keys: "list[str] | None" = None, metric_key_prefix: str = "test",
                **gen_kwargs: Any) -> PredictionOutput:
        """As Trainer.predict(); further arguments are generation's."""
        self._generation = self._options(gen_kwargs)
        return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: "list[str] | None" = None,
                        **gen_kwargs: Any) -> tuple[Any, Any, Any]:
        """Loss, generated ids and labels of a batch, both padded to one length with the pad token and -100."""
        if not getattr(self.args, "predict_with_generate", False) or prediction_loss_only:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        prepared = self._prepare_inputs(inputs)
        options = self._options(gen_kwargs or self._generation)
        asked = {k: v for k, v in prepared.items() if k not in ("labels", "decoder_input_ids", "decoder_attention_mask")}
        generated = np.asarray(array_of(model.generate(**asked, **options)))
        loss = None
        if prepared.get("labels") is not None:
            with no_grad(), self.compute_loss_context_manager():
                loss = self.compute_loss(model, dict(prepared), num_items_in_batch=self._num_items([prepared])).detach()
        labels = None if prepared.get("labels") is None else array_of(prepared["labels"])
        pad = self._pad_token()
        length = options.get("max_length") or (options["max_new_tokens"] + 1 if options.get("max_new_tokens") else generated.shape[1])
        generated = _to_length(generated, length, pad)
        return loss, wrap(generated), None if labels is None else wrap(_to_length(labels, max(length, labels.shape[1]), PAD_LABEL))

    def _pad_token(self) -> int:
        for source in (self.processing_class, getattr(self.model, "generation_config", None), self.model.config):
            for name in ("pad_token_id", "eos_token_id"):
                value = getattr(source, name, None)
                if value is not None:
                    return int(value[0] if isinstance(value, (list, tuple)) else value)
        raise ValueError("[Seq2SeqTrainer] expected a pad_token_id in the tokenizer or the configuration")


def _to_length(ids: Any, length: int, fill: int) -> Any:
    if ids.shape[1] >= length:
        return ids
    return np.concatenate([ids, np.full((ids.shape[0], length - ids.shape[1]), fill, ids.dtype)], axis=1)
