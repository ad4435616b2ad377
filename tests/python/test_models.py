"""Model classes: opening, saving, calling, outputs, parameters, precisions."""
import json
import logging

import numpy as np
import pytest

import tenon
from conftest import TINY
from tenon.safetensors import load_file


def close(a, b, tolerance=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(1e-6, np.abs(b).max())


def test_concrete_and_auto_classes_open_the_same_model(checkpoints, tokenizer):
    inputs = tokenizer(["the cat sat", "a dog"], padding=True, return_tensors="pt")
    a = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    b = tenon.BertForSequenceClassification.from_pretrained(checkpoints["classifier"])
    assert type(a) is type(b) is tenon.BertForSequenceClassification and isinstance(a, tenon.PreTrainedModel)
    assert a(**inputs).logits.tolist() == b(**inputs).logits.tolist()
    assert a.config.id2label == {0: "down", 1: "flat", 2: "up"} and a.config.num_labels == 3 and a.name_or_path == checkpoints["classifier"]
    with pytest.raises(OSError, match="from_pretrained"):
        tenon.AutoModel()
    with pytest.raises(AttributeError):
        tenon.BertForNothing
    assert {"BertModel", "ViTForImageClassification", "CLIPTextModelWithProjection", "AutoModelForMaskedLM", "XLMRobertaConfig"} <= set(dir(tenon))


def test_outputs_are_dict_attribute_and_tuple(checkpoints, tokenizer):
    model = tenon.AutoModel.from_pretrained(checkpoints["bert"])
    inputs = tokenizer("the cat", return_tensors="pt")
    out = model(**inputs)
    assert list(out) == ["last_hidden_state", "pooler_output"] and out[0] is out["last_hidden_state"] is out.last_hidden_state
    assert out.hidden_states is None and out.to_tuple()[1] is out.pooler_output and out[:2] == out.to_tuple() and len(out) == 2
    with pytest.raises(AttributeError, match="logits"):
        out.logits
    first, pooled = model(**inputs, return_dict=False)
    assert first.shape == (1, 4, 32) and pooled.shape == (1, 32)
    out = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 3 and out.attentions[1].shape == (1, 4, 4, 4)
    close(out.hidden_states[-1], out.last_hidden_state)
    close(out.attentions[0].sum(-1), np.ones((1, 4, 4)))
    assert len(tenon.AutoModel.from_pretrained(checkpoints["bert"], output_hidden_states=True)(**inputs).hidden_states) == 3


def test_inputs_of_every_kind(checkpoints, tokenizer):
    model = tenon.BertModel.from_pretrained(checkpoints["bert"])
    ids = tokenizer("the cat sat").input_ids
    want = model(tenon.tensor([ids])).last_hidden_state.tolist()
    for given in ([ids], np.array([ids]), np.array([ids], np.int32), (tuple(ids),), [np.array(ids)], np.array([[i, 0] for i in ids]).T[:1]):
        assert model(given).last_hidden_state.tolist() == want
    assert model([ids], [[1] * len(ids)], token_type_ids=None).last_hidden_state.tolist() == want
    assert model(input_ids=[ids], position_ids=[list(range(len(ids)))]).last_hidden_state.tolist() == want
    embeds = model.get_input_embeddings()(ids).unsqueeze(0)
    close(model(inputs_embeds=embeds).last_hidden_state, want)


def test_ragged_batch_equals_single_runs(checkpoints, tokenizer):
    model = tenon.AutoModel.from_pretrained(checkpoints["bert"])
    texts = ["the cat sat on the mat", "a", "", "hello world , one longer text with several words !", "profit fell"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    together = model(**batch)
    for i, text in enumerate(texts):
        alone = model(**tokenizer(text, return_tensors="pt"))
        n = alone.last_hidden_state.shape[1]
        close(together.last_hidden_state[i][:n], alone.last_hidden_state[0], 2e-6)
        close(together.pooler_output[i], alone.pooler_output[0], 2e-6)
    left = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    shape = left["input_ids"].shape
    assert model(**left).last_hidden_state.shape == (*shape, 32)


def test_losses(checkpoints, tokenizer):
    inputs = tokenizer(["the cat", "a dog"], padding=True, return_tensors="pt")
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    logits = model(**inputs).logits.numpy().astype(np.float64)
    out = model(**inputs, labels=[2, 0])
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert list(out)[0] == "loss" and abs(out.loss.item() + (log_probs[0, 2] + log_probs[1, 0]) / 2) < 1e-5
    model.config.problem_type = "multi_label_classification"
    targets = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    want = (np.logaddexp(0, logits) - logits * targets).mean()
    assert abs(model(**inputs, labels=targets).loss.item() - want) < 1e-5
    regression = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["regression"])
    out = regression(**inputs, labels=[0.5, -1.0])
    assert abs(out.loss.item() - ((out.logits.numpy()[:, 0] - [0.5, -1.0]) ** 2).mean()) < 1e-5
    mlm = tenon.AutoModelForMaskedLM.from_pretrained(checkpoints["mlm"])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    assert mlm(**inputs, labels=labels).loss.item() > 0


def test_saving_and_opening_again(checkpoints, tmp_path, tokenizer):
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    inputs = tokenizer("the cat", return_tensors="pt")
    for name in ("whole", "shards"):
        again = tenon.AutoModelForSequenceClassification.from_pretrained(tmp_path / name)
        assert again(**inputs).logits.tolist() == model(**inputs).logits.tolist() and again.config.id2label == model.config.id2label
    written = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert written["architectures"] == ["BertForSequenceClassification"] and written["model_type"] == "bert"
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    for bad in (dict(safe_serialization=False), dict(push_to_hub=True), dict(max_shard_size="many")):
        with pytest.raises(ValueError):
            model.save_pretrained(tmp_path / "x", **bad)


def test_parameters_have_the_names_on_disk(checkpoints):
    for name in ("classifier", "mlm", "vit-classifier", "clip"):
        model = tenon.AutoModel.from_pretrained(checkpoints[name]) if name == "clip" else getattr(
            tenon, {"classifier": "BertForSequenceClassification", "mlm": "BertForMaskedLM", "vit-classifier": "ViTForImageClassification"}[name]
        ).from_pretrained(checkpoints[name])
        disk = load_file(checkpoints[name] + "/model.safetensors")
        assert {n: t.shape for n, t in model.named_parameters()} == {n: t.shape for n, t in disk.items()}
        assert all(np.array_equal(t, disk[n]) for n, t in model.state_dict().items())
        assert model.num_parameters() == sum(t.numel() for t in model.parameters()) == sum(t.numel() for t in disk.values())


def test_freezing_and_modes(checkpoints):
    model = tenon.BertModel.from_pretrained(checkpoints["bert"])
    assert not model.training and model.train().training and not model.eval().training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        if name.startswith("embeddings"):
            parameter.requires_grad = False
    frozen = sum(t.numel() for n, t in model.named_parameters() if n.startswith("embeddings"))
    assert model.num_parameters() - model.num_parameters(only_trainable=True) == frozen
    assert model.requires_grad_(False).num_parameters(only_trainable=True) == 0
    assert model.to("cpu").cpu() is model and str(model.device) == "cpu" and model.base_model_prefix == "bert"
    with pytest.raises(RuntimeError, match="cuda"):
        model.to("cuda")


def test_load_state_dict(checkpoints, tokenizer):
    config = tenon.AutoConfig.from_pretrained(checkpoints["classifier"])
    model, source = tenon.BertForSequenceClassification(config).eval(), tenon.BertForSequenceClassification.from_pretrained(checkpoints["classifier"])
    inputs = tokenizer("the cat", return_tensors="pt")
    assert model(**inputs).logits.tolist() != source(**inputs).logits.tolist()
    assert model.load_state_dict(source.state_dict()) == ([], [])
    close(model(**inputs).logits, source(**inputs).logits, 1e-6)
    weights = dict(source.state_dict(), extra=tenon.zeros(1))
    weights.pop("classifier.bias")
    with pytest.raises(RuntimeError, match="classifier.bias.*extra"):
        model.load_state_dict(weights)
    assert model.load_state_dict(weights, strict=False) == (["classifier.bias"], ["extra"])
    with pytest.raises(RuntimeError, match="classifier.bias: expected"):
        model.load_state_dict({"classifier.bias": tenon.zeros(9)}, strict=False)


def test_fresh_weights_follow_the_seed():
    config = tenon.BertConfig(vocab_size=50, **TINY)

    def weights():
        tenon.manual_seed(5)
        return [tenon.BertModel(config).state_dict()["embeddings.word_embeddings.weight"].tolist() for _ in range(2)]

    a, b = weights(), weights()
    assert a[0] != a[1]
    assert a == b


def test_missing_and_superfluous_weights_are_named(checkpoints, caplog):
    with caplog.at_level(logging.WARNING, "tenon"):
        tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"], num_labels=5)
    assert "newly initialized: classifier.weight, classifier.bias" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tenon"):
        _, info = tenon.AutoModel.from_pretrained(checkpoints["classifier"], output_loading_info=True)
    assert "not used: classifier" in caplog.text and sorted(info["unexpected_keys"]) == ["classifier.bias", "classifier.weight"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tenon"):
        tenon.CLIPTextModel.from_pretrained(checkpoints["clip"])
        tenon.BertModel.from_pretrained(checkpoints["mlm"], add_pooling_layer=False)
    assert "newly" not in caplog.text and "vision_model" not in caplog.text


def test_other_numbers_of_labels(checkpoints):
    with pytest.raises(ValueError, match="classifier.weight.*expected shape.*ignore_mismatched_sizes"):
        tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"], num_labels=5)
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"], num_labels=5, ignore_mismatched_sizes=True)
    assert model([[2, 3]]).logits.shape == (1, 5) and model.config.id2label[4] == "LABEL_4"


@pytest.mark.parametrize("how, tolerance", [(dict(dtype="bfloat16"), 0.05), (dict(torch_dtype=tenon.bfloat16), 0.05),
                                            (dict(quantization_config=tenon.Int8Config()), 0.05), (dict(dtype=tenon.float32), 1e-6)])
def test_precisions(checkpoints, tokenizer, how, tolerance):
    inputs = tokenizer(["the cat sat on the mat", "a dog"], padding=True, return_tensors="pt")
    want = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])(**inputs).logits
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"], **how)
    got = model(**inputs).logits
    assert str(got.dtype) == "tenon.float32"
    close(got, want, tolerance)


def test_dtype_auto_and_changes(checkpoints, tmp_path, caplog):
    model = tenon.AutoModel.from_pretrained(checkpoints["bert"])
    assert model.dtype == tenon.float32 and model.bfloat16().dtype == tenon.bfloat16 and model.float().dtype == tenon.float32
    assert tenon.AutoModel.from_pretrained(checkpoints["bert"], dtype="auto").dtype == tenon.float32
    config = json.loads(open(checkpoints["bert"] + "/config.json").read())
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(dict(config, dtype=None, torch_dtype="bfloat16")))
    assert tenon.AutoModel.from_pretrained(tmp_path, dtype="auto").dtype == tenon.bfloat16
    assert tenon.AutoModel.from_pretrained(tmp_path).dtype == tenon.float32
    for wrong in ("int3", "int64"):
        with pytest.raises((TypeError, ValueError), match="dtype"):
            tenon.AutoModel.from_pretrained(checkpoints["bert"], dtype=wrong)
    with pytest.raises(ValueError, match="Int8Config"):
        tenon.AutoModel.from_pretrained(checkpoints["bert"], quantization_config={"quant_method": "awq"})


def test_clip(checkpoints, tokenizer):
    model = tenon.CLIPModel.from_pretrained(checkpoints["clip"])
    texts = tokenizer(["a cat", "a dog sat"], padding=True, return_tensors="pt")
    texts.pop("token_type_ids")
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    out = model(**texts, pixel_values=pixels, return_loss=True)
    assert out.logits_per_image.shape == (2, 2) and out.loss.item() > 0
    t, i = model.get_text_features(**texts), model.get_image_features(pixel_values=pixels)
    close(t / t.norm(dim=-1, keepdim=True), out.text_embeds)
    close(i / i.norm(dim=-1, keepdim=True), out.image_embeds)
    assert t.pooler_output.tolist() == t.tolist()
    scale = np.exp(model.state_dict()["logit_scale"].item())
    close(out.logits_per_text, scale * out.text_embeds.numpy() @ out.image_embeds.numpy().T)
    projected = tenon.CLIPTextModelWithProjection.from_pretrained(checkpoints["clip"])
    close(projected(**texts).text_embeds, t)
    assert isinstance(projected.config, tenon.CLIPTextConfig)
    with pytest.raises(TypeError):
        tenon.BertModel.from_pretrained(checkpoints["bert"]).get_text_features([[2, 3]])


def test_vit_interpolates_positions(checkpoints):
    model = tenon.ViTModel.from_pretrained(checkpoints["vit"])
    pixels = np.zeros((1, 3, 48, 40))  # float64 is taken, too
    assert model(pixels, interpolate_pos_encoding=True).last_hidden_state.shape == (1, 6 * 5 + 1, 32)
    with pytest.raises(ValueError, match="interpolate_pos_encoding"):
        model(pixels)


def test_hub_names_resolve_through_the_cache(checkpoints, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--tiny-bert"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots").mkdir()
    (repo / "snapshots" / commit).symlink_to(checkpoints["bert"])
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert tenon.AutoModel.from_pretrained("someone/tiny-bert").config.hidden_size == 32
    assert tenon.AutoTokenizer.from_pretrained("someone/tiny-bert", revision=commit)("the").input_ids
    with pytest.raises(FileNotFoundError, match="someone/other.*" + str(tmp_path)):
        tenon.AutoModel.from_pretrained("someone/other")
