"""Pipelines over images: classification, features, and classification by free labels."""
from __future__ import annotations

from typing import Any, ClassVar

from ..image_processing import load_image
from .base import Pipeline, apply_function, best, labelled


class _ImagePipeline(Pipeline):
    needs: ClassVar[tuple[str, ...]] = ("image_processor",)

    def _is_single(self, inputs: Any) -> bool:
        return super()._is_single(inputs) or hasattr(inputs, "tobytes")

    def _pixels(self, items: list[Any], options: dict[str, Any], **settings: Any) -> dict[str, Any]:
        images = [load_image(item, options.get("timeout")) for item in items]
        return self.image_processor(images, return_tensors="pt", **settings)


class ImageClassificationPipeline(_ImagePipeline):
    """[{"label", "score"}] per image: the best top_k labels (5)."""

    task = "image-classification"
    options = ("top_k", "function_to_apply", "timeout")

    def __call__(self, inputs: Any = None, **kwargs: Any) -> Any:
        inputs = kwargs.pop("images", inputs)
        if inputs is None:
            raise ValueError("[image-classification] expected an image")
        return super().__call__(inputs, **kwargs)

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        logits = self.model(**self._pixels(items, options)).logits.tolist()
        config, top_k = self.model.config, options.get("top_k")
        return [best(labelled(apply_function(row, options.get("function_to_apply"), config), config), 5 if top_k is None else top_k) for row in logits]


class ImageFeatureExtractionPipeline(_ImagePipeline):
    """The last hidden state of each image as nested lists [1][patches + 1][width]; with pool=True the pooled output [1][width]."""

    task = "image-feature-extraction"
    options = ("pool", "return_tensors", "image_processor_kwargs", "timeout")

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        outputs = self.model(**self._pixels(items, options, **(options.get("image_processor_kwargs") or {})))
        if options.get("pool"):
            if outputs.get("pooler_output") is None:
                raise ValueError("[image-feature-extraction] pool: expected a model with a pooler, got one without")
            features = outputs["pooler_output"].cpu()
        else:
            features = outputs[0].cpu()
        rows = [features[i].unsqueeze(0) for i in range(len(items))]
        return rows if options.get("return_tensors") else [row.tolist() for row in rows]


class ZeroShotImageClassificationPipeline(_ImagePipeline):
    """[{"score", "label"}] per image over candidate_labels, by the similarity of image and sentence."""

    task = "zero-shot-image-classification"
    options = ("candidate_labels", "hypothesis_template", "tokenizer_kwargs", "timeout")
    needs = ("image_processor", "tokenizer")

    def __call__(self, image: Any = None, candidate_labels: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        image = kwargs.pop("images", image)
        if image is None:
            raise ValueError("[zero-shot-image-classification] expected an image")
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        return super().__call__(image, **kwargs)

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        labels = options.get("candidate_labels")
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",")]
        if not labels:
            raise ValueError("[zero-shot-image-classification] expected candidate_labels")
        template = options.get("hypothesis_template", "This is a photo of {}.")
        texts = self.tokenizer([template.format(label) for label in labels], return_tensors="pt",
                               **{"padding": True, **(options.get("tokenizer_kwargs") or {})})
        rows = self.model(**texts, **self._pixels(items, options)).logits_per_image.cpu().softmax(-1).tolist()
        return [[{"score": score, "label": label} for score, label in sorted(zip(row, labels), key=lambda x: -x[0])] for row in rows]
