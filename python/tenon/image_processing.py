"""Image processors: PIL images, arrays, paths and addresses to pixel_values."""
from __future__ import annotations

import os
from typing import Any

from . import _core, hub
from .batch import BatchFeature
from .conversion import Tensor, as_tensor

_LAYOUTS = {None: "infer", "channels_first": "first", "channels_last": "last", "none": "infer"}


def load_image(image: Any, timeout: "float | None" = None) -> Any:
    """An image from a path, an http(s) or data address (JPEG or PNG, upright as its EXIF says); other kinds are returned as they are.

    Errors: FileNotFoundError; ValueError for damaged files and unknown kinds.
    """
    if isinstance(image, os.PathLike):
        image = os.fspath(image)
    if not isinstance(image, str):
        return image
    if image.startswith(("http://", "https://")):
        from urllib.request import urlopen

        with urlopen(image, timeout=timeout) as response:
            return _core.decode_image(response.read(), True)
    if image.startswith("data:image/"):
        from base64 import b64decode

        return _core.decode_image(b64decode(image.partition("base64,")[2]), True)
    return _core.load_image(image, True)


def _is_pil(image: Any) -> bool:
    return hasattr(image, "mode") and hasattr(image, "tobytes") and hasattr(image, "convert")


def _from_pil(image: Any, keeps_alpha: bool, channels: int) -> _core.Image:
    mode = image.mode
    if mode in ("LA", "PA", "P") and ("A" in mode or "transparency" in image.info):
        image = image.convert("RGBA")
    if not (image.mode == "RGB" or (image.mode == "RGBA" and keeps_alpha) or (image.mode == "L" and channels == 1)):
        image = image.convert("RGB")
    return _core.Image(image.height, image.width, len(image.getbands()), image.tobytes())


class BaseImageProcessor:
    """Resizes, crops, rescales and normalises as preprocessor_config.json says, with the pixels of Transformers' PIL processors.

    Settings are attributes (processor.size, processor.image_mean) and may be overridden in each call.
    """

    processor_type: str = ""
    model_input_names = ["pixel_values"]

    def __init__(self, **settings: Any) -> None:
        """The defaults of the type, changed by `settings`. Errors: TypeError for a setting that there is not."""
        self._take(_core.ImageProcessor.of_type(self.processor_type))
        if settings:
            self._take(self._changed(settings))

    def _take(self, core: _core.ImageProcessor) -> None:
        self._core = core
        self._settings: dict[str, Any] = core.to_json()

    def _changed(self, settings: dict[str, Any]) -> _core.ImageProcessor:
        known = {**self._settings, "crop_size": None, "do_center_crop": None, "do_convert_rgb": None, "default_to_square": None}
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise TypeError(f"[{type(self).__name__}] unknown arguments: {', '.join(sorted(unknown))}; known are: {', '.join(sorted(known))}")
        return self._core.with_settings({k: int(v) if k == "resample" and v is not None else v for k, v in settings.items()})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", **kwargs: Any) -> Any:
        """Opens a folder or cached hub name; further arguments override settings. Errors: FileNotFoundError, ValueError, TypeError."""
        folder = hub.resolve(pretrained_model_name_or_path, **hub.split_arguments(kwargs))
        core = _core.ImageProcessor.load(folder)
        chosen = processor_class(core.to_json()["image_processor_type"]) if not cls.processor_type else cls
        processor = chosen.__new__(chosen)
        processor._take(core)
        if kwargs:
            processor._take(processor._changed(kwargs))
        return processor

    def __getattr__(self, name: str) -> Any:
        settings = self.__dict__.get("_settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name in self.__dict__.get("_settings", {}):
            self._take(self._changed({name: value}))
        else:
            object.__setattr__(self, name, value)

    def __call__(self, images: Any, return_tensors: Any = None, input_data_format: "str | None" = None, data_format: Any = None,
                 **settings: Any) -> BatchFeature:
        """pixel_values (B,C,height,width) of one image or a list.

        images: PIL images, arrays (HWC or CHW, with or without a batch dimension), tensors, paths.
        Errors: FileNotFoundError, ValueError for damaged files and shapes; TypeError for what is no image and for unknown settings.
        """
        if str(getattr(data_format, "value", data_format)) not in ("None", "channels_first"):
            raise ValueError(f"[{type(self).__name__}] data_format: expected channels_first, as models take it, got {data_format!r}")
        settings = {k: v for k, v in settings.items() if v is not None}
        core = self._changed(settings) if settings else self._core
        layout = getattr(input_data_format, "value", input_data_format)
        if layout not in _LAYOUTS:
            raise ValueError(f"[{type(self).__name__}] input_data_format: expected channels_first or channels_last, got {input_data_format!r}")
        pixels = self._process(core, images, _core.ChannelLayout.__members__[_LAYOUTS[layout]])
        name = getattr(return_tensors, "value", return_tensors)
        if name not in (None, "pt", "np"):
            raise ValueError(f"[return_tensors] expected \"pt\" (tenon.Tensor), \"np\" (NumPy arrays) or None, got {return_tensors!r}")
        return BatchFeature(pixel_values=pixels if name == "pt" else pixels.numpy() if name == "np" else list(pixels.numpy()))

    preprocess = __call__

    def _process(self, core: _core.ImageProcessor, images: Any, layout: _core.ChannelLayout) -> Tensor:
        batch = list(images) if isinstance(images, (list, tuple)) else [images]
        if not batch:
            raise ValueError(f"[{type(self).__name__}] images: expected at least one image, got an empty list")
        loaded = [load_image(image) for image in batch]
        settings = core.to_json()
        keeps_alpha = bool(settings.get("do_convert_rgb"))
        mean = settings.get("image_mean")
        channels = len(mean) if isinstance(mean, list) else 3
        loaded = [_from_pil(image, keeps_alpha, channels) if _is_pil(image) else image for image in loaded]
        if all(isinstance(image, _core.Image) for image in loaded):
            return core.images(loaded)
        arrays = []
        for image in loaded:
            try:
                arrays.append(as_tensor(image))
            except TypeError:
                raise TypeError(f"[{type(self).__name__}] images: expected PIL images, arrays or paths, got {type(image).__name__}") from None
        if len(arrays) > 1 and any(a.ndim == 4 for a in arrays):
            return core.arrays([row for a in arrays for row in (a if a.ndim == 4 else [a])], layout)
        return core.arrays(arrays, layout)

    def to_dict(self) -> dict[str, Any]:
        return dict(self._settings)

    def to_json_string(self) -> str:
        return _core.dump_json(self._settings) + "\n"

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", **kwargs: Any) -> list[str]:
        """Writes preprocessor_config.json into a folder."""
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        self._core.save(folder)
        return [os.path.join(folder, "preprocessor_config.json")]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string().rstrip()}\n"

    def __getstate__(self) -> dict[str, Any]:
        return self._settings

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take(_core.ImageProcessor.from_json(state))


_SUFFIXES = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
_FAMILIES = ("ViT", "DeiT", "CLIP", "Siglip", "Bit")
_classes: dict[str, type[BaseImageProcessor]] = {}


def class_names() -> list[str]:
    """All names of processors: ViTImageProcessor, ViTFeatureExtractor, ..."""
    return [family + suffix for family in _FAMILIES for suffix in _SUFFIXES]


def processor_class(name: str) -> type[BaseImageProcessor]:
    """The class of a processor type; the older and newer names of one type are the same class."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            name = name.removesuffix(suffix) + "ImageProcessor"
            break
    if name not in _classes:
        members = {"processor_type": name, "__module__": __name__, "__doc__": f"Transformers' {name}; see BaseImageProcessor."}
        _classes[name] = type(name, (BaseImageProcessor,), members)
    return _classes[name]


class AutoImageProcessor:
    """Opens the image processor of any checkpoint."""

    def __init__(self) -> None:
        raise OSError(f"{type(self).__name__} is made with {type(self).__name__}.from_pretrained(folder)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", **kwargs: Any) -> Any:
        """See BaseImageProcessor.from_pretrained."""
        return BaseImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)


class AutoFeatureExtractor(AutoImageProcessor):
    """The older name of AutoImageProcessor."""


def __getattr__(name: str) -> Any:
    if name not in class_names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return processor_class(name)
