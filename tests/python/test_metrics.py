"""tenon.metrics: values worked out by hand, with the shape of the package evaluate."""
import math

import numpy as np
import pytest

import tenon

TRUE, SAID = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]


def test_accuracy_and_averages():
    assert tenon.metrics.load("accuracy").compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0]) == {"accuracy": 0.75}
    assert tenon.metrics.load("accuracy").compute(predictions=np.array([0, 1]), references=tenon.tensor([0, 0]),
                                                  normalize=False) == {"accuracy": 1.0}
    f1 = tenon.metrics.load("f1")
    assert f1.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0]) == {"f1": 2 / 3}
    # labels 0, 1, 2: 2 of 3 said and 2 of 2 there; none of 2 said; none of 1 said
    assert f1.compute(predictions=SAID, references=TRUE, average="macro")["f1"] == pytest.approx(0.8 / 3)
    assert f1.compute(predictions=SAID, references=TRUE, average="micro")["f1"] == pytest.approx(1 / 3)
    assert f1.compute(predictions=SAID, references=TRUE, average="weighted")["f1"] == pytest.approx(0.8 / 3)
    assert f1.compute(predictions=SAID, references=TRUE, average=None)["f1"] == pytest.approx([0.8, 0, 0])
    assert tenon.metrics.load("precision").compute(predictions=SAID, references=TRUE, average="macro")["precision"] == pytest.approx(2 / 9)
    assert tenon.metrics.load("recall").compute(predictions=SAID, references=TRUE, average="macro")["recall"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="choose average"):
        f1.compute(predictions=SAID, references=TRUE)


def test_correlations():
    mcc = tenon.metrics.load("matthews_correlation").compute(predictions=[1, 1, 0, 1], references=[1, 0, 0, 1])["matthews_correlation"]
    assert mcc == pytest.approx((2 * 1 - 1 * 0) / math.sqrt(3 * 2 * 2 * 1))
    x, y = [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 4.0, 9.0]
    assert tenon.metrics.load("pearsonr").compute(predictions=x, references=y)["pearsonr"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert tenon.metrics.load("spearmanr").compute(predictions=x, references=y)["spearmanr"] == pytest.approx(0.8)
    assert set(tenon.metrics.load("glue", "stsb").compute(predictions=x, references=y)) == {"pearson", "spearmanr"}
    assert tenon.metrics.load("glue", "mrpc").compute(predictions=[1, 0], references=[1, 1]) == {"accuracy": 0.5, "f1": 2 / 3}


def test_collecting_and_combining():
    metric = tenon.metrics.load("accuracy")
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add(prediction=1, reference=1)
    assert metric.compute() == {"accuracy": 2 / 3}
    assert tenon.metrics.combine(["accuracy", "f1"]).compute(predictions=[1, 0], references=[1, 1]) == {"accuracy": 0.5, "f1": 2 / 3}
    with pytest.raises(ValueError, match="as many predictions"):
        metric.compute(predictions=[1], references=[1, 2])
    with pytest.raises(ValueError, match="load: expected one of accuracy"):
        tenon.metrics.load("bleu")
    with pytest.raises(ValueError, match="predictions: expected a list"):
        metric.compute(predictions=[[0.1, 0.9]], references=[1])


def test_perplexity(tokenizer):
    tenon.manual_seed(0)
    model = tenon.GPT2LMHeadModel(tenon.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=32))
    model.eval()
    result = tenon.metrics.load("perplexity").compute(predictions=["the cat sat", "a dog"], model=model, tokenizer=tokenizer)
    ids = tokenizer("the cat sat", return_tensors="pt").input_ids
    assert result["perplexities"][0] == pytest.approx(math.exp(model(ids, labels=ids).loss.item()), rel=1e-4)
    assert result["mean_perplexity"] == pytest.approx(np.mean(result["perplexities"]))
