"""Outputs and losses of the golden checkpoints, as Transformers computed them."""
import json

import numpy as np
import pytest

import tenon
from conftest import GOLDEN, SHARED
from tenon.safetensors import load_file

CASES = ["bert", "bert-mlm", "distilbert", "roberta", "vit", "vit-pooler", "clip"]


def folder_of(name):
    for folder in (GOLDEN / name, SHARED / "golden" / "cases" / name):
        if (folder / "outputs.safetensors").exists():
            return folder
    pytest.skip(f"there is no golden case {name}")


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    folder = folder_of(name)
    meta = json.loads((folder / "meta.json").read_text())
    model = getattr(tenon, meta["model_class"]).from_pretrained(folder)
    inputs, reference = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    outputs = model(**inputs, **meta["call"], output_hidden_states=any(k.startswith("hidden_states") for k in reference))
    for key, expected in reference.items():
        field, _, index = key.partition(".")
        got, want = (outputs[field][int(index)] if index else outputs[field]).numpy(), expected.numpy()
        assert got.shape == want.shape
        if "attention_mask" in inputs and got.ndim == 3:  # rows of padding are not computed
            real = inputs["attention_mask"].numpy().astype(bool)
            got, want = got[real], want[real]
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), key
    if "loss" in meta:
        labels = load_file(folder / "loss_inputs.safetensors") if (folder / "loss_inputs.safetensors").exists() else {}
        assert abs(model(**inputs, **labels, **meta["loss_call"]).loss.item() - meta["loss"]) <= 1e-5 * max(1, abs(meta["loss"]))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("how, tolerance", [(dict(dtype="bfloat16"), 0.06), (dict(quantization_config=tenon.Int8Config()), 0.08)])
def test_low_precision_stays_close(name, how, tolerance):
    folder = folder_of(name)
    meta = json.loads((folder / "meta.json").read_text())
    inputs, reference = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    outputs = getattr(tenon, meta["model_class"]).from_pretrained(folder, **how)(**inputs, **meta["call"])
    key = next(k for k in ("logits", "logits_per_image", "last_hidden_state") if k in reference)
    got, want = outputs[key].numpy(), reference[key].numpy()
    if "attention_mask" in inputs and got.ndim == 3:
        real = inputs["attention_mask"].numpy().astype(bool)
        got, want = got[real], want[real]
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def same(got, want, where="result"):
    if isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-3, abs=1e-4), where
    elif isinstance(want, list):
        assert len(got) == len(want), where
        for i, (g, w) in enumerate(zip(got, want)):
            same(g, w, f"{where}[{i}]")
    elif isinstance(want, dict):
        assert list(got) == list(want), where
        for key in want:
            same(got[key], want[key], f"{where}.{key}")
    else:
        assert got == want, where


@pytest.fixture(scope="module")
def answers():
    path = GOLDEN / "pipelines.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def test_text_pipelines(answers):
    classify = tenon.pipeline("text-classification", str(GOLDEN / "bert"))
    texts = answers["texts"]
    same(classify(texts, top_k=None), answers["text-classification"])
    same(classify(texts[0], top_k=2, function_to_apply="sigmoid"), answers["text-classification-sigmoid"])
    same(classify({"text": texts[0], "text_pair": texts[1]}, top_k=None), answers["text-classification-pair"])
    same(tenon.pipeline("feature-extraction", str(GOLDEN / "bert"))(texts[0])[0], answers["feature-extraction"])
    fill = tenon.pipeline("fill-mask", str(GOLDEN / "bert-mlm"))
    same([fill(text) for text in answers["masked"]], answers["fill-mask"])
    same(fill(answers["masked"][0], targets=["capital", "city", "cat"], top_k=2), answers["fill-mask-targets"])


def test_image_pipelines(answers):
    images = [str(GOLDEN.parent.parent / "examples" / "data" / name) for name in ("cat.png", "rocket.jpg")]
    same(tenon.pipeline("image-classification", str(GOLDEN / "vit"))(images), answers["image-classification"])
    features = tenon.pipeline("image-feature-extraction", str(GOLDEN / "vit-pooler"))
    same(features(images[0])[0], answers["image-feature-extraction"])
    same(features(images[0], pool=True)[0], answers["image-feature-extraction-pool"])
    zero_shot = tenon.pipeline("zero-shot-image-classification", str(GOLDEN / "clip"))
    same(zero_shot(images, candidate_labels=answers["labels"]), answers["zero-shot-image-classification"])
