"""Pipelines over texts: classification, features, fill-mask."""
from __future__ import annotations

from typing import Any

from .. import hub
from .._lazy import np
from .base import Pipeline, PipelineException, apply_function, best, labelled

_TOKENIZER_OPTIONS = ("padding", "truncation", "max_length", "add_special_tokens", "stride", "pad_to_multiple_of", "padding_side")


class TextClassificationPipeline(Pipeline):
    """[{"label", "score"}] per text: the best label, or with top_k the best k, or all for top_k=None.

    A pair is {"text": ..., "text_pair": ...}.
    """

    task = "text-classification"
    options = ("top_k", "function_to_apply", "return_all_scores", *_TOKENIZER_OPTIONS)

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(super()._checked(options))
        if "return_all_scores" in options:  # Transformers 4
            options["top_k"] = None if options.pop("return_all_scores") else 1
            options["_unsorted"] = True
        return options

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        result = super().__call__(inputs, **kwargs)
        return [result] if isinstance(inputs, str) and "top_k" not in kwargs else result

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        encoded = self.tokenizer(*_texts_and_pairs(items), return_tensors="pt", **{"padding": True, **_tokenizer_options(options)})
        logits = self.model(**encoded).logits.tolist()
        results = [labelled(apply_function(row, options.get("function_to_apply"), self.model.config), self.model.config) for row in logits]
        if "top_k" not in options or (options.get("_unsorted") and options["top_k"] == 1):
            return [best(r, 1)[0] for r in results]
        return results if options.get("_unsorted") else [best(r, options["top_k"]) for r in results]


class FeatureExtractionPipeline(Pipeline):
    """The last hidden state of each text as nested lists [1][tokens][width], or a tensor with return_tensors=True."""

    task = "feature-extraction"
    options = ("truncation", "tokenize_kwargs", "return_tensors")

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        arguments = dict(options.get("tokenize_kwargs") or {})
        if options.get("truncation") is not None:
            if "truncation" in arguments:
                raise ValueError("[feature-extraction] truncation is given twice, also in tokenize_kwargs")
            arguments["truncation"] = options["truncation"]
        encoded = self.tokenizer(items, return_tensors="pt", **{"padding": True, **arguments})
        features = self.model(**encoded)[0].cpu()
        padded = arguments.get("padding") == "max_length"
        results = []
        for i, encoding in enumerate(encoded.encodings):
            mask = encoding.attention_mask
            begin, end = (0, len(mask)) if padded or 1 not in mask else (mask.index(1), mask.index(1) + sum(mask))
            results.append(features[i][begin:end].unsqueeze(0))
        return results if options.get("return_tensors") else [r.tolist() for r in results]


class FillMaskPipeline(Pipeline):
    """[{"score", "token", "token_str", "sequence"}] for the mask token of each text; a list of such lists for several masks."""

    task = "fill-mask"
    options = ("top_k", "targets", "tokenizer_kwargs")

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if self.tokenizer.mask_token_id is None:
            raise PipelineException(self.task, self.model.base_model_prefix, "the tokenizer has no mask_token")
        results = super().__call__(inputs, **kwargs)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        encoded = self.tokenizer(items, return_tensors="pt", **{"padding": True, **(options.get("tokenizer_kwargs") or {})})
        rows = encoded["input_ids"].tolist()
        mask_id = self.tokenizer.mask_token_id
        for row, item in zip(rows, items):
            if mask_id not in row:
                raise PipelineException(self.task, self.model.base_model_prefix, f"no {self.tokenizer.mask_token} in {item!r}")
        logits = self.model(**encoded).logits.cpu()
        targets = None if options.get("targets") is None else self._target_ids(options["targets"])
        top_k = 5 if options.get("top_k") is None else options["top_k"]
        return [self._fill(row, logits[i], mask_id, top_k, targets) for i, row in enumerate(rows)]

    def _fill(self, row: list[int], logits: Any, mask_id: int, top_k: int, targets: "list[int] | None") -> Any:
        places = [i for i, token in enumerate(row) if token == mask_id]
        filled = []
        for place in places:
            scores = logits[place].softmax(-1).numpy()
            candidates = np.arange(scores.size) if targets is None else np.asarray(targets)
            order = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
            entries = []
            for token in order.tolist():
                ids = [token if i == place else t for i, t in enumerate(row)]
                ids = [t for t in ids if t != self.tokenizer.pad_token_id]
                entries.append({"score": float(scores[token]), "token": token, "token_str": self.tokenizer.decode([token]),
                                "sequence": self.tokenizer.decode(ids, skip_special_tokens=len(places) == 1)})
            filled.append(entries)
        return filled[0] if len(places) == 1 else filled

    def _target_ids(self, targets: Any) -> list[int]:
        found: list[int] = []
        for target in [targets] if isinstance(targets, str) else targets:
            token = self.tokenizer._core.token_to_id(target)
            if token < 0:
                ids = self.tokenizer(target, add_special_tokens=False)["input_ids"]
                if not ids:
                    hub.warn(f"the target {target!r} has no tokens and is ignored")
                    continue
                token = ids[0]
                hub.warn(f"the target {target!r} is not in the vocabulary; {self.tokenizer.convert_ids_to_tokens(token)!r} takes its place")
            if token not in found:
                found.append(token)
        if not found:
            raise ValueError("[fill-mask] targets: expected at least one that has a token")
        return found


def _tokenizer_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in _TOKENIZER_OPTIONS}


def _texts_and_pairs(items: list[Any]) -> tuple[list[str], "list[str] | None"]:
    """Texts and second texts of a batch of texts or pair dicts, never mixed."""
    if not any(isinstance(item, dict) for item in items):
        for item in items:
            if not isinstance(item, str):
                raise ValueError(f"[text-classification] expected texts, or {{\"text\": ..., \"text_pair\": ...}} for a pair, got {type(item).__name__}")
        return items, None
    for item in items:
        if not isinstance(item, dict) or "text" not in item or item.keys() - {"text", "text_pair"}:
            raise ValueError(f"[text-classification] expected {{\"text\": ..., \"text_pair\": ...}} for every input, got {item!r}")
    pairs = [item.get("text_pair") for item in items]
    if all(p is None for p in pairs):
        return [item["text"] for item in items], None
    return [item["text"] for item in items], pairs
