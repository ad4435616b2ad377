"""pipeline(): the shapes and values of results, list and generator inputs, options."""
import math

import pytest

import tenon
from tenon import pipeline


def is_labelled(result):
    return set(result) == {"label", "score"} and isinstance(result["label"], str) and isinstance(result["score"], float)


def test_text_classification(checkpoints):
    p = pipeline("text-classification", model=checkpoints["classifier"])
    one = p("the cat sat")
    assert isinstance(one, list) and len(one) == 1 and is_labelled(one[0]) and one[0]["label"] in ("down", "flat", "up")
    texts = ["the cat sat", "a dog", "profit fell sharply"]
    many = p(texts)
    assert len(many) == 3 and all(map(is_labelled, many)) and many[0]["label"] == one[0]["label"]
    everything = p("the cat sat", top_k=None)
    assert [len(everything), *everything[0]] == [3, "label", "score"] and math.isclose(sum(r["score"] for r in everything), 1, rel_tol=1e-6)
    assert everything == sorted(everything, key=lambda r: -r["score"]) and everything[0]["score"] == pytest.approx(one[0]["score"], rel=1e-5)
    assert [len(r) for r in p(texts, top_k=2)] == [2, 2, 2]
    for size in (1, 2, 50):
        assert [r["score"] for r in p(texts, batch_size=size)] == pytest.approx([r["score"] for r in many], rel=1e-5)
    every = pipeline("sentiment-analysis", model=checkpoints["classifier"], top_k=None)
    assert [len(r) for r in every("a dog")] == [3] and [len(r) for r in every(texts)] == [3] * 3
    legacy = pipeline("text-classification", model=checkpoints["classifier"], return_all_scores=True)
    assert [r["label"] for r in legacy("a dog")[0]] == ["down", "flat", "up"]


def test_text_pairs(checkpoints):
    p = pipeline("text-classification", model=checkpoints["classifier"])
    pair = {"text": "the cat", "text_pair": "a dog"}
    one = p(pair)
    assert is_labelled(one) and p([pair, pair])[1]["score"] == pytest.approx(one["score"], rel=1e-5)
    assert one["score"] != pytest.approx(p("the cat")[0]["score"], rel=1e-5)
    for wrong in ([["the cat", "a dog"]], [3], {"text_pair": "x"}, [{"text": "a"}, "b"]):
        with pytest.raises(ValueError, match="text_pair"):
            p(wrong)


def test_functions_to_apply(checkpoints):
    p = pipeline("text-classification", model=checkpoints["classifier"])
    raw = {r["label"]: r["score"] for r in p("a dog", top_k=None, function_to_apply="none")}
    for r in p("a dog", top_k=None, function_to_apply="sigmoid"):
        assert r["score"] == pytest.approx(1 / (1 + math.exp(-raw[r["label"]])), rel=1e-5)
    assert 0 < pipeline("text-classification", model=checkpoints["regression"])("a dog")[0]["score"] < 1
    with pytest.raises(ValueError, match="function_to_apply"):
        p("a dog", function_to_apply="cosine")


def test_generators_and_data_sets(checkpoints):
    p = pipeline("text-classification", model=checkpoints["classifier"], batch_size=2)
    texts = ["the cat", "a dog", "profit fell"]

    class Data:
        def __len__(self):
            return len(texts)

        def __getitem__(self, i):
            return texts[i]

        def __iter__(self):
            return iter(texts)

    want = p(texts)
    for given in ((t for t in texts), Data()):
        results = p(given)
        assert not isinstance(results, list)
        assert [r["score"] for r in results] == pytest.approx([r["score"] for r in want], rel=1e-5)
    assert p([]) == []


def test_feature_extraction(checkpoints):
    p = pipeline("feature-extraction", model=checkpoints["bert"])
    one = p("the cat sat")
    assert (len(one), len(one[0]), len(one[0][0])) == (1, 5, 32)
    many = p(["the cat sat", "a"])
    assert [len(r[0]) for r in many] == [5, 3] and many[0][0][0] == pytest.approx(one[0][0], rel=1e-4, abs=1e-6)
    assert p("a", return_tensors=True).shape == (1, 3, 32) and p("the cat sat on the mat", truncation=True)
    assert len(p("the cat sat on the mat", tokenize_kwargs={"truncation": True, "max_length": 4})[0]) == 4


def test_fill_mask(checkpoints):
    p = pipeline("fill-mask", model=checkpoints["mlm"])
    results = p("the [MASK] sat")
    assert len(results) == 5 and set(results[0]) == {"score", "token", "token_str", "sequence"}
    assert results == sorted(results, key=lambda r: -r["score"]) and "[MASK]" not in results[0]["sequence"] and "[CLS]" not in results[0]["sequence"]
    assert [len(r) for r in p(["the [MASK] sat", "a [MASK] dog on the mat"], top_k=2)] == [2, 2]
    targets = p("the [MASK] sat", targets=["cat", "dog"])
    assert {r["token_str"] for r in targets} == {"cat", "dog"}
    two = p("the [MASK] [MASK]", top_k=3)
    assert [len(r) for r in two] == [3, 3] and "[MASK]" in two[0][0]["sequence"]
    with pytest.raises(ValueError, match=r"no \[MASK\]"):
        p("the cat")


def test_image_classification(checkpoints, picture):
    Image = pytest.importorskip("PIL.Image")
    p = pipeline("image-classification", model=checkpoints["vit-classifier"])
    one = p(picture)
    assert len(one) == 5 and all(map(is_labelled, one)) and one == sorted(one, key=lambda r: -r["score"])
    image = Image.open(picture)
    assert [r["score"] for r in p(image)] == pytest.approx([r["score"] for r in one])
    assert [len(r) for r in p([picture, image], top_k=2)] == [2, 2] and len(p(images=picture, top_k=100)) == 7


def test_image_feature_extraction(checkpoints, picture):
    p = pipeline("image-feature-extraction", model=checkpoints["vit"])
    one = p(picture)
    assert (len(one), len(one[0]), len(one[0][0])) == (1, 17, 32)
    pooled = p([picture, picture], pool=True)
    assert [(len(r), len(r[0])) for r in pooled] == [(1, 32)] * 2 and p(picture, return_tensors=True).shape == (1, 17, 32)


def test_zero_shot_image_classification(checkpoints, picture):
    p = pipeline("zero-shot-image-classification", model=checkpoints["clip"])
    labels = ["cat", "dog", "mat"]
    one = p(picture, candidate_labels=labels)
    assert {r["label"] for r in one} == set(labels) and sum(r["score"] for r in one) == pytest.approx(1) and one == sorted(one, key=lambda r: -r["score"])
    assert len(p([picture, picture], candidate_labels=labels, hypothesis_template="the {}")) == 2
    with pytest.raises(ValueError, match="candidate_labels"):
        p(picture)


def test_models_and_tokenizers_as_objects(checkpoints, tokenizer):
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    p = pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    assert p.model is model and p.tokenizer is tokenizer and str(p.device) == "cpu" and is_labelled(p("a dog")[0])
    assert is_labelled(pipeline(model=model, tokenizer=tokenizer)("a dog")[0])
    assert type(pipeline(model=checkpoints["mlm"])) is tenon.FillMaskPipeline and type(pipeline(model=checkpoints["vit"])).task == "image-feature-extraction"
    assert pipeline("text-classification", model=checkpoints["classifier"], dtype="bfloat16").model.dtype == tenon.bfloat16
    with pytest.raises(ValueError, match="tokenizer="):
        pipeline("text-classification", model=model)


def test_wrong_arguments(checkpoints):
    with pytest.raises(KeyError, match="unknown task 'depth-estimation'.*text-classification"):
        pipeline("depth-estimation", model=checkpoints["bert"])
    with pytest.raises(TypeError, match="colour"):
        pipeline("text-classification", model=checkpoints["classifier"], colour=1)
    p = pipeline("text-classification", model=checkpoints["classifier"])
    with pytest.raises(TypeError, match="colour"):
        p("a dog", colour=1)
    with pytest.raises(RuntimeError, match="cuda"):
        pipeline("text-classification", model=checkpoints["classifier"], device=0)
    with pytest.raises(FileNotFoundError):
        pipeline("text-classification", model=checkpoints["classifier"] + "/nowhere")
    with pytest.raises(ValueError, match="does not open|classes for it"):
        pipeline("image-classification", model=checkpoints["bert"])
