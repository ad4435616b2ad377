"""Damaged files and wrong arguments: the right Python exception, and a process and other models that work on."""
import json
import shutil
import struct

import numpy as np
import pytest

import tenon
from tenon.safetensors import load_file


@pytest.fixture
def model(checkpoints):
    return tenon.AutoModel.from_pretrained(checkpoints["bert"])


@pytest.fixture
def folder(checkpoints, tmp_path):
    """A copy of a checkpoint that a test may damage."""
    return shutil.copytree(checkpoints["classifier"], tmp_path / "damaged")


@pytest.fixture(autouse=True)
def others_still_work(checkpoints):
    other = tenon.AutoModel.from_pretrained(checkpoints["bert"])
    before = other([[2, 5, 3]]).pooler_output.tolist()
    yield
    assert other([[2, 5, 3]]).pooler_output.tolist() == before


def header(entries):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "short": b"\1\2\3",
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "not an object": struct.pack("<Q", 2) + b"[]",
    "a bomb of brackets": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "truncated data": header({"a": ONE}) + b"\0" * 4,
    "data left over": header({"a": ONE}) + b"\0" * 12,
    "overlap": header({"a": ONE, "b": ONE}) + b"\0" * 8,
    "a gap": header({"a": ONE, "b": {**ONE, "data_offsets": [12, 20]}}) + b"\0" * 20,
    "offsets that do not fit the shape": header({"a": {**ONE, "shape": [3]}}) + b"\0" * 8,
    "a shape that overflows": header({"a": {**ONE, "shape": [2**40, 2**40]}}) + b"\0" * 8,
    "a negative size": header({"a": {**ONE, "shape": [-2]}}) + b"\0" * 8,
    "an unknown dtype": header({"a": {**ONE, "dtype": "F7"}}) + b"\0" * 8,
    "offsets of text": header({"a": {**ONE, "data_offsets": ["0", "8"]}}) + b"\0" * 8,
    "a missing field": header({"a": {"dtype": "F32"}}) + b"\0" * 8,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_safetensors(name, folder):
    (folder / "model.safetensors").write_bytes(DAMAGED[name])
    for open_it in (lambda: load_file(folder / "model.safetensors"), lambda: tenon.AutoModel.from_pretrained(folder)):
        with pytest.raises((ValueError, TypeError), match=r"model\.safetensors"):
            open_it()


def test_missing_files(folder, tmp_path):
    for wrong in (tmp_path / "nowhere", str(tmp_path / "no where"), "no-such-hub-name-at-all"):
        for opener in (tenon.AutoModel, tenon.AutoConfig, tenon.AutoTokenizer, tenon.AutoImageProcessor, tenon.BertModel, tenon.AutoProcessor):
            with pytest.raises(FileNotFoundError, match="no"):
                opener.from_pretrained(wrong, local_files_only=True)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="damaged"):
        tenon.AutoModel.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json"):
        tenon.AutoModel.from_pretrained(folder)
    for wrong in (3, None, ["x"]):
        with pytest.raises(TypeError, match="folder or a hub name"):
            tenon.AutoModel.from_pretrained(wrong)


@pytest.mark.parametrize("text, error", [
    ("", ValueError), ("{", ValueError), ("[1, 2]", TypeError), ('{"model_type": 3}', (ValueError, TypeError)), ("[" * 100_000, ValueError),
    ('{"model_type": "bert", "hidden_size": "wide"}', TypeError), ('{"model_type": "bert", "hidden_size": -3}', ValueError),
    ('{"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}', ValueError), ('{"model_type": "bert", "num_hidden_layers": 1e30}', (ValueError, TypeError)),
    ('{"model_type": "bert", "hidden_act": "swoosh"}', ValueError), ('{"model_type": "bert", "id2label": 3}', TypeError),
    ('{"model_type": "bert", "vocab_size": 1000000000000}', ValueError)])
def test_damaged_configurations(text, error, folder):
    (folder / "config.json").write_text(text)
    with pytest.raises(error):
        tenon.AutoModelForSequenceClassification.from_pretrained(folder)


def test_unknown_architecture(folder):
    (folder / "config.json").write_text('{"model_type": "perceiver", "architectures": ["PerceiverForMaskedLM"]}')
    with pytest.raises(ValueError, match="perceiver.*known are.*bert.*vit.*clip"):
        tenon.AutoModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="ViTModel.*bert.*BertModel"):
        (folder / "config.json").write_text('{"model_type": "bert"}')
        tenon.ViTModel.from_pretrained(folder)


def test_ids_and_lengths(model, checkpoints):
    for ids in ([[2, 10**6]], [[-1, 3]], [[2**40]], [[2**70]]):
        with pytest.raises(ValueError, match="input_ids"):
            model(ids)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        model(np.ones((1, 65), np.int64))
    with pytest.raises(ValueError, match="token_type_ids"):
        model([[2, 3]], token_type_ids=[[0, 9]])
    with pytest.raises(ValueError):
        tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])([[2, 3]], labels=[7])


def test_shapes_and_types(model):
    for call in (lambda: model([2, 3]), lambda: model([[[2]]]), lambda: model([[2, 3]], attention_mask=[[1]]), lambda: model([[2, 3], [2]]),
                 lambda: model(np.zeros((1, 0), np.int64))):
        with pytest.raises(ValueError):
            call()
    for call in (lambda: model([[0.5]]), lambda: model("text"), lambda: model({"a": 1}), lambda: model([["a"]]), lambda: model(), lambda: model(object())):
        with pytest.raises(TypeError):
            call()


def test_empty_batches(model, tokenizer):
    assert model(np.zeros((0, 5), np.int64)).last_hidden_state.shape == (0, 5, 32)
    assert tokenizer([]).input_ids == [] and tokenizer("").input_ids == [2, 3]
    assert model(**tokenizer(["", ""], return_tensors="pt")).pooler_output.shape == (2, 32)


def test_unknown_arguments(model, checkpoints):
    for call in (lambda: model([[2]], colour=1), lambda: model([[2]], pixel_values=[[1]]), lambda: model([[2]], input_ids=[[2]]),
                 lambda: tenon.AutoModel.from_pretrained(checkpoints["bert"], colour=1), lambda: tenon.BertModel(tenon.BertConfig(), colour=1),
                 lambda: tenon.BertModel("bert-base-uncased")):
        with pytest.raises(TypeError, match="colour|pixel_values|input_ids|from_pretrained"):
            call()


@pytest.mark.parametrize("name, data", [("empty.png", b""), ("text.jpg", b"no image at all"), ("cut.png", None), ("head.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40),
                                        ("head.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 40)])
def test_damaged_images(name, data, checkpoints, picture, tmp_path):
    path = tmp_path / name
    path.write_bytes(open(picture, "rb").read()[:150] if data is None else data)
    processor = tenon.AutoImageProcessor.from_pretrained(checkpoints["vit"])
    with pytest.raises(ValueError, match=name):
        processor(str(path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        processor(str(tmp_path / "nowhere.png"))


def test_wrong_images(checkpoints):
    processor = tenon.AutoImageProcessor.from_pretrained(checkpoints["vit"])
    for wrong, error in ((3.5, (TypeError, ValueError)), (object(), TypeError), ([], ValueError), (np.zeros((2, 2, 2, 2, 2)), ValueError),
                         (np.zeros((5, 7), "U1"), (TypeError, ValueError)), (np.full((4, 4, 3), 1e9), ValueError)):
        with pytest.raises(error):
            processor(wrong)
    model = tenon.ViTModel.from_pretrained(checkpoints["vit"])
    for wrong in (np.zeros((1, 3, 16, 16), np.float32), np.zeros((3, 32, 32), np.float32), np.zeros((1, 4, 32, 32), np.float32)):
        with pytest.raises(ValueError):
            model(wrong)


@pytest.mark.parametrize("name, text", [("tokenizer.json", "{"), ("tokenizer.json", "[]"), ("tokenizer.json", '{"model": {"type": "Magic", "vocab": {}}}'),
                                        ("tokenizer.json", '{"model": {"type": "WordPiece", "vocab": {"a": "b"}}}'), ("tokenizer_config.json", "{")])
def test_damaged_tokenizers(name, text, folder):
    (folder / name).write_text(text)
    with pytest.raises((ValueError, TypeError)):
        tenon.AutoTokenizer.from_pretrained(folder)


def test_saving_where_nothing_can_be_written(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        model.save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"
