"""Image processors and CLIPProcessor: inputs of every kind, settings, files, Transformers' pixel values."""
import json
import pickle

import numpy as np
import pytest

import tenon
from conftest import shared
from tenon.safetensors import load_file

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def processor():
    return tenon.ViTImageProcessor(size={"height": 32, "width": 32})


def test_pil_images_arrays_and_paths_agree(processor, picture):
    image = Image.open(picture)
    want = processor(image, return_tensors="np").pixel_values
    assert want.shape == (1, 3, 32, 32) and want.dtype == np.float32 and -1 <= want.min() < want.max() <= 1
    array = np.array(image)
    for given in (picture, [image], array, array.transpose(2, 0, 1), array[None], tenon.from_numpy(array), image.convert("RGBA")):
        np.testing.assert_array_equal(processor(given, return_tensors="np").pixel_values, want)
    both = processor([image, picture], return_tensors="pt")
    assert both["pixel_values"].shape == (2, 3, 32, 32) and isinstance(both.pixel_values, tenon.Tensor) and list(both) == ["pixel_values"]
    assert processor(image).pixel_values[0].shape == (3, 32, 32)
    assert processor(image.convert("L"), return_tensors="pt").pixel_values.shape == (1, 3, 32, 32)


def test_settings(processor, picture):
    assert processor.size == {"height": 32, "width": 32} and processor.image_mean == [0.5] * 3 and processor.do_resize
    raw = processor(picture, do_rescale=False, do_normalize=False, return_tensors="np").pixel_values
    normal = processor(picture, return_tensors="np").pixel_values
    np.testing.assert_allclose((raw / 255 - 0.5) / 0.5, normal, atol=1e-6)
    assert processor(picture, size={"height": 8, "width": 16}, return_tensors="pt").pixel_values.shape == (1, 3, 8, 16)
    processor.do_normalize = False
    assert processor(picture, return_tensors="np").pixel_values.min() >= 0
    assert tenon.ViTFeatureExtractor is tenon.ViTImageProcessor is tenon.ViTImageProcessorFast
    clip = tenon.CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=20)
    assert clip(picture, return_tensors="pt").pixel_values.shape == (1, 3, 20, 20)
    with pytest.raises(TypeError, match="colour"):
        processor(picture, colour=1)
    with pytest.raises(TypeError, match="colour"):
        tenon.ViTImageProcessor(colour=1)
    with pytest.raises(ValueError, match="return_tensors"):
        processor(picture, return_tensors="tf")


def test_files(processor, picture, tmp_path):
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["image_processor_type"] == "ViTImageProcessor"
    for again in (tenon.AutoImageProcessor.from_pretrained(tmp_path), tenon.AutoFeatureExtractor.from_pretrained(tmp_path),
                  tenon.ViTFeatureExtractor.from_pretrained(tmp_path), pickle.loads(pickle.dumps(processor))):
        assert type(again) is tenon.ViTImageProcessor and again.to_dict() == processor.to_dict()
    assert tenon.AutoImageProcessor.from_pretrained(tmp_path, do_resize=False).do_resize is False
    with pytest.raises(OSError):
        tenon.AutoImageProcessor()


def test_clip_processor(checkpoints, picture):
    p = tenon.CLIPProcessor.from_pretrained(checkpoints["clip"])
    assert type(tenon.AutoProcessor.from_pretrained(checkpoints["clip"])) is tenon.CLIPProcessor
    both = p(text=["a cat", "a dog sat"], images=picture, return_tensors="pt", padding=True)
    assert both["pixel_values"].shape == (1, 3, 32, 32) and both["input_ids"].shape == (2, 5)
    assert "pixel_values" not in p(text="a cat", return_tensors="pt") and list(p(images=picture, return_tensors="pt")) == ["pixel_values"]
    assert p(picture, "a cat", return_tensors="pt").keys() == p("a cat", picture, return_tensors="pt").keys()
    assert p.batch_decode(both["input_ids"], skip_special_tokens=True) == ["a cat", "a dog sat"]
    with pytest.raises(ValueError, match="text, images"):
        p()
    assert isinstance(tenon.AutoProcessor.from_pretrained(checkpoints["vit"]), tenon.ViTImageProcessor)
    assert isinstance(tenon.AutoProcessor.from_pretrained(checkpoints["bert"]), tenon.BertTokenizer)


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_pixel_values_equal_transformers(name):
    settings = json.loads(shared("golden", "images", f"{name}.json").read_text())
    processor = tenon.AutoImageProcessor.from_pretrained(shared("golden", "images", f"{name}.json")) if "image_processor_type" in settings else None
    if processor is None:
        pytest.skip("the settings file names no type")
    for stem, path in (("camera", "skimage/camera.png"), ("kitten", "photos/kitten.jpg"), ("coco_000000039769", "photos/coco_000000039769.png")):
        want = next(iter(load_file(shared("golden", "images", f"{stem}.{name}.safetensors")).values())).numpy()
        got = processor(Image.open(shared("images", *path.split("/"))), return_tensors="np").pixel_values
        step = 1 / 255 / min(processor.image_std)
        assert np.abs(got - want.reshape(got.shape)).max() <= step * 1.01
