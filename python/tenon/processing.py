"""Processors for several kinds of input: CLIPProcessor, and AutoProcessor, which opens whatever a checkpoint has."""
from __future__ import annotations

import os
from typing import Any

from . import hub
from .batch import BatchEncoding, BatchFeature
from .image_processing import BaseImageProcessor
from .tokenization import PreTrainedTokenizerBase

_IMAGE_ARGUMENTS = frozenset({"do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
                              "image_mean", "image_std", "do_convert_rgb", "input_data_format", "data_format"})


class CLIPProcessor:
    """A tokenizer and an image processor together."""

    attributes = ["image_processor", "tokenizer"]

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
        if image_processor is None or tokenizer is None:
            raise ValueError("[CLIPProcessor] expected an image_processor and a tokenizer")
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", **kwargs: Any) -> "CLIPProcessor":
        """Opens both parts of a checkpoint."""
        images = {k: kwargs.pop(k) for k in list(kwargs) if k in _IMAGE_ARGUMENTS}
        fetch = hub.split_arguments(kwargs)
        return cls(BaseImageProcessor.from_pretrained(pretrained_model_name_or_path, **images, **fetch),
                   PreTrainedTokenizerBase.from_pretrained(pretrained_model_name_or_path, **kwargs, **fetch))

    def __call__(self, text: Any = None, images: Any = None, return_tensors: Any = None, **kwargs: Any) -> BatchFeature:
        """The inputs of texts, images or both. Errors: ValueError without either; TypeError for unknown arguments."""
        if text is not None and images is None and not _is_text(text):
            text, images = None, text  # Transformers 5 takes images first
        elif images is not None and text is not None and _is_text(images) and not _is_text(text):
            text, images = images, text
        if text is None and images is None:
            raise ValueError("[CLIPProcessor] expected text, images or both")
        for_images = {k: kwargs.pop(k) for k in list(kwargs) if k in _IMAGE_ARGUMENTS}
        batch: BatchFeature = BatchEncoding()
        if text is not None:
            batch = self.tokenizer(text, return_tensors=return_tensors, **kwargs)
        elif kwargs.keys() - {"padding", "truncation", "max_length"}:
            raise TypeError(f"[CLIPProcessor] unknown arguments: {', '.join(sorted(kwargs))}")
        if images is not None:
            batch["pixel_values"] = self.image_processor(images, return_tensors=return_tensors, **for_images)["pixel_values"]
        return batch

    def decode(self, *args: Any, **kwargs: Any) -> str:
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        return self.tokenizer.batch_decode(*args, **kwargs)

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """See the tokenizer's; its messages are texts."""
        return self.tokenizer.apply_chat_template(conversation, **kwargs)

    def parse_response(self, response: Any, schema: Any = None, **kwargs: Any) -> Any:
        """See the tokenizer's."""
        return self.tokenizer.parse_response(response, schema, **kwargs)

    @property
    def feature_extractor(self) -> Any:
        return self.image_processor

    @property
    def model_input_names(self) -> list[str]:
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", **kwargs: Any) -> list[str]:
        """Writes the files of both parts into a folder."""
        return [*self.tokenizer.save_pretrained(save_directory), *self.image_processor.save_pretrained(save_directory)]


def _is_text(value: Any) -> bool:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(first, str) and not first.startswith(("http://", "https://", "data:image/")) and not os.path.isfile(first)


class AutoProcessor:
    """Opens a checkpoint's processor: both parts for CLIP, else its image processor or its tokenizer."""

    def __init__(self) -> None:
        raise OSError("AutoProcessor is made with AutoProcessor.from_pretrained(folder)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", **kwargs: Any) -> Any:
        fetch = hub.split_arguments(kwargs)
        folder = hub.resolve(pretrained_model_name_or_path, **fetch)
        has_images = any(os.path.isfile(os.path.join(folder, n)) for n in ("preprocessor_config.json", "processor_config.json"))
        has_text = any(os.path.isfile(os.path.join(folder, n)) for n in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer_config.json"))
        if has_images and has_text:
            return CLIPProcessor.from_pretrained(folder, **kwargs)
        if has_images:
            return BaseImageProcessor.from_pretrained(folder, **kwargs)
        if has_text:
            return PreTrainedTokenizerBase.from_pretrained(folder, **kwargs)
        raise FileNotFoundError(f"[AutoProcessor] {folder}: expected preprocessor_config.json or a tokenizer's files, found neither")
