"""Gradients of whole models through Python: golden losses and gradients, eval() against train(), threads, errors."""
import json
import threading

import numpy as np
import pytest

import tenon
from conftest import GOLDEN, SHARED, TINY
from tenon.safetensors import load_file


def cases():
    folders = {}
    for root in (SHARED / "golden" / "cases", GOLDEN):
        for path in sorted(root.glob("*/grads.safetensors")):
            if (path.parent / "model.safetensors").exists():
                folders[path.parent.name] = path.parent
    return folders


CASES = cases()


def close(got, want, tolerance=1e-3):
    """Whether gradients agree; one that is rounding noise in the reference need only be as small."""
    largest = np.abs(want).max()
    if largest < 1e-7:
        return got is None or np.abs(got.numpy()).max() < 1e-5
    return got is not None and np.abs(got.numpy() - want).max() <= tolerance * largest


def opened(name):
    folder = CASES[name]
    meta = json.loads((folder / "meta.json").read_text())
    inputs = load_file(folder / "inputs.safetensors")
    if (folder / "loss_inputs.safetensors").exists():
        inputs.update(load_file(folder / "loss_inputs.safetensors"))
    return getattr(tenon, meta["model_class"]).from_pretrained(folder), {**inputs, **meta["call"], **meta.get("loss_call", {})}, meta


@pytest.mark.parametrize("name", sorted(CASES))
def test_losses_and_gradients_equal_those_of_pytorch(name):
    model, inputs, meta = opened(name)
    loss = model(**inputs).loss  # eval() mode: recorded when backward comes
    assert loss.grad_fn is not None and abs(loss.item() - meta["loss"]) <= 1e-5 * max(1, abs(meta["loss"]))
    loss.backward()
    reference = load_file(CASES[name] / "grads.safetensors")
    for parameter, p in model.named_parameters():
        assert close(p.grad, reference[parameter].numpy()), parameter
    assert len(reference) == len(list(model.parameters()))


@pytest.mark.parametrize("name", sorted(n for n in CASES if "train" in json.loads((CASES[n] / "meta.json").read_text())))
def test_twelve_steps_of_adamw_equal_those_of_pytorch(name):
    model, inputs, meta = opened(name)
    steps = meta["train"]
    optimizer = tenon.optim.AdamW(model.parameters(), lr=steps["lr"], weight_decay=steps["weight_decay"])
    losses = []
    for _ in range(steps["steps"]):
        loss = model(**inputs).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        tenon.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert np.abs(np.array(losses) - steps["losses"]).max() <= 1e-3 * max(1, steps["losses"][0])


def small(cls=tenon.BertForSequenceClassification, **kwargs):
    tenon.manual_seed(3)
    return cls(tenon.BertConfig(**{**TINY, "vocab_size": 60, "max_position_embeddings": 16, "num_labels": 3, **kwargs}))


IDS = [[2, 5, 7, 3], [2, 8, 3, 0]]
BATCH = {"input_ids": IDS, "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]], "labels": [1, 2]}


def test_train_mode_without_dropout_equals_eval_mode():
    model = small(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    assert model.training
    same = [p for p in model.parameters()]
    model(**BATCH).loss.backward()
    trained = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
    model.zero_grad()
    model.eval()
    model(**BATCH).loss.backward()
    for n, p in model.named_parameters():
        assert close(p.grad, trained[n], 1e-5), n
    assert all(a is b for a, b in zip(same, model.parameters()))


def test_no_grad_and_inference_mode_record_nothing():
    model = small().eval()
    with tenon.no_grad():
        assert not model(**BATCH).loss.requires_grad
    with tenon.inference_mode():
        assert not model(**BATCH).logits.requires_grad
    for p in model.parameters():
        p.requires_grad_(False)
    assert not model(**BATCH).loss.requires_grad


def test_gradients_add_up_and_frozen_parameters_get_none():
    model = small(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for n, p in model.named_parameters():
        p.requires_grad = n.startswith("classifier")
    model(**BATCH).loss.backward()
    first = model.get_parameter("classifier.weight").grad.numpy().copy()
    model(**BATCH).loss.backward()
    assert np.allclose(model.get_parameter("classifier.weight").grad.numpy(), 2 * first)
    assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("classifier"))


def test_inputs_embeds_get_a_gradient():
    model = small(tenon.BertModel).eval()
    table = model.get_input_embeddings().weight.detach()
    embeds = table[tenon.tensor(IDS)].requires_grad_()
    weights = tenon.randn(2, 4, 32)
    (model(inputs_embeds=embeds).last_hidden_state * weights).sum().backward()
    assert embeds.grad.shape == embeds.shape and np.abs(embeds.grad.numpy()).max() > 0
    step = 1e-2 * embeds.grad / embeds.grad.norm()
    with tenon.no_grad():
        change = model(inputs_embeds=embeds + step).last_hidden_state - model(inputs_embeds=embeds - step).last_hidden_state
    assert (change * weights).sum().item() == pytest.approx(2e-2 * embeds.grad.norm().item(), rel=2e-2)


def test_a_second_backward_needs_retain_graph():
    for mode in (True, False):
        model = small(hidden_dropout_prob=0.1).train(mode)
        loss = model(**BATCH).loss
        loss.backward(retain_graph=True)
        first = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
        loss.backward()
        assert all(close(p.grad, 2 * first[n], 1e-5) for n, p in model.named_parameters())
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_changed_parameters_are_noticed():
    model = small()
    loss = model(**BATCH).loss
    with tenon.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        loss.backward()


def test_dropout_follows_the_seed():
    model = small(hidden_dropout_prob=0.5)
    def draw():
        return model(**BATCH).logits.tolist()
    tenon.manual_seed(5)
    first, second = draw(), draw()
    tenon.manual_seed(5)
    assert draw() == first and first != second
    assert model.eval()(**BATCH).logits.tolist() == draw()


def test_anomalies_within_a_model_are_named():
    model = small()
    with tenon.no_grad():
        model.get_parameter("bert.encoder.layer.1.output.dense.bias")[0] = float("nan")
    assert np.isnan(model(**BATCH).loss.item())
    with tenon.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="NaN"):
        model(**BATCH)
    with tenon.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="NaN"):
        model.eval()(**BATCH).loss.backward()


def test_what_has_no_gradient_says_so():
    sizes = dict(TINY, projection_dim=8)
    model = tenon.CLIPModel(tenon.CLIPConfig(projection_dim=8, text_config=dict(sizes, vocab_size=60, eos_token_id=3),
                                             vision_config=dict(sizes, image_size=16, patch_size=8)))
    features = model.get_text_features(input_ids=IDS)
    assert features.requires_grad and not features.pooler_output.requires_grad
    with pytest.raises(RuntimeError, match="get_text_features"):
        features.sum().backward()
    for mode in (True, False):
        model = small().train(mode)
        out = model(**BATCH, output_attentions=True)
        assert tuple(out) == ("loss", "logits", "attentions") and len(out.attentions) == 2
        out.loss.backward(retain_graph=True)
        assert model.get_parameter("classifier.bias").grad is not None
        with pytest.raises(RuntimeError, match="attentions have none"):
            out.attentions[0].sum().backward()


def test_threads_train_one_model_each():
    def train(results, i):
        model = models[i]
        for _ in range(3):
            model(**BATCH).loss.backward()
        results[i] = {n: p.grad.numpy() for n, p in model.named_parameters()}
    models = [small(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0) for _ in range(3)]
    results = [None] * 3
    threads = [threading.Thread(target=train, args=(results, i)) for i in range(3)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert all(np.allclose(results[0][n], r[n]) for r in results[1:] for n in results[0])


@pytest.mark.parametrize("name", ["Llama", "Mixtral"])
def test_models_learn_in_float8_as_in_bfloat16(name):
    sizes = dict(vocab_size=64, hidden_size=128, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=64)
    if name == "Mixtral":
        sizes.update(num_local_experts=4, num_experts_per_tok=2)
    curves = []
    for kind, scaling in ((tenon.bfloat16, "block"), (tenon.float8_e4m3fn, "block"), (tenon.float8_e4m3fn, "tensor")):
        tenon.manual_seed(0)
        draw = np.random.default_rng(0)
        model = getattr(tenon, f"{name}ForCausalLM")(getattr(tenon, f"{name}Config")(**sizes)).train()
        optimizer, curve = tenon.optim.AdamW(model.parameters(), lr=3e-3), []
        for _ in range(20):  # arithmetic progressions
            ids = tenon.tensor((draw.integers(0, 50, (8, 1)) + np.arange(24) * draw.integers(1, 4, (8, 1))) % 64)
            with tenon.autocast("cpu", dtype=kind, fp8_scaling=scaling):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curve.append(loss.item())
        curves.append(curve)
    half, blocks, whole = np.array(curves)
    assert half[-1] < 0.5 * half[0] and (blocks != half).all() and (whole != blocks).all()
    assert np.abs(blocks - half).max() < 0.15 and np.abs(whole - half).max() < 0.15, curves
