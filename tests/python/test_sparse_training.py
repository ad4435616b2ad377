"""Sparse training: masks kept by optimisers and Trainers, resumed to the same bits; files without zeros; 2:4."""
import numpy as np
import pytest

import tenon
from tenon import safetensors, sparsity
from tenon.sparsity import SparseTraining, SparseTrainingCallback
from training_data import arguments, classifier, examples, same, weights


def layers_of(model):
    return {n: t for n, t in model.named_parameters() if ".layer." in n and t.numpy().ndim == 2}


def zeros_hold(model, masks):
    for name, t in model.named_parameters():
        if name in masks:
            assert not t.detach().numpy()[masks[name].numpy() == 0].any(), name


def steps(model, tokenizer, optimizer, count, first=0):
    for i in range(first, first + count):
        batch = tokenizer([row[0] for row in _texts()[4 * i:4 * i + 4]], padding=True, return_tensors="np")
        model(**batch, labels=np.array([row[1] for row in _texts()[4 * i:4 * i + 4]])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _texts():
    from training_data import texts

    return texts(400, seed=3)


@pytest.mark.parametrize("method", ["static", "set", "rigl", "magnitude"])
@pytest.mark.parametrize("make", [lambda p: tenon.optim.AdamW(p, 1e-3), lambda p: tenon.optim.SGD(p, 0.1, momentum=0.9),
                                  lambda p: tenon.optim.SGD(p, 0.1), lambda p: tenon.optim.Lion(p, 1e-3, weight_decay=0.1)])
def test_masks_hold(tokenizer, method, make):
    model = classifier(tokenizer)
    model.train()
    optimizer = make(model.parameters())
    sparse = SparseTraining(model, optimizer, method, 0.25, end=9, every=3, seed=1)
    first = {n: m.numpy().copy() for n, m in sparse.masks().items()}
    assert set(first) == set(layers_of(model)) and "bert.pooler.dense.weight" not in first
    if method != "magnitude":
        assert sparse.density() == pytest.approx(0.25, abs=0.001) and sparsity.density(model) <= 0.251
    else:
        assert sparse.density() == 1
    steps(model, tokenizer, optimizer, 12)
    zeros_hold(model, sparse.masks())
    assert sparse.step == 12 and sparse.density() == pytest.approx(0.25, abs=0.001)
    moved = any((first[n] != m.numpy()).any() for n, m in sparse.masks().items())
    assert moved == (method != "static") == (sparse.dropped > 0)
    if method in ("set", "rigl"):
        assert sparse.grown == sparse.dropped and all(m.numpy().sum() == first[n].sum() for n, m in sparse.masks().items())
    sparse.detach()
    steps(model, tokenizer, optimizer, 1, first=12)
    assert sparse.step == 12  # it counts no more


def test_erk_gives_small_layers_more_and_keeps_the_sum(tokenizer):
    model = classifier(tokenizer, intermediate_size=256)
    sparse = SparseTraining(model, tenon.optim.AdamW(model.parameters()), density=0.2, end=9)
    assert sparse.density() == pytest.approx(0.2, abs=0.001)
    shapes = {n: t.shape for n, t in layers_of(model).items()}
    query, wide = next(n for n in shapes if "query" in n), next(n for n in shapes if "intermediate" in n)
    factor = sum(shapes[query]) / np.prod(shapes[query]) / (sum(shapes[wide]) / np.prod(shapes[wide]))
    assert sparse.densities[query] / sparse.densities[wide] == pytest.approx(factor)
    model = classifier(tokenizer)
    uniform = SparseTraining(model, tenon.optim.AdamW(model.parameters()), "set", 0.2, "uniform", end=9)
    assert set(uniform.densities.values()) == {0.2}


def test_new_connections_start_at_zero_with_moments_of_zero(tokenizer):
    model = classifier(tokenizer)
    model.train()
    optimizer = tenon.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sparse = SparseTraining(model, optimizer, "set", 0.25, end=100, every=4)
    steps(model, tokenizer, optimizer, 3)
    before = {n: m.numpy().copy() for n, m in sparse.masks().items()}
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # what the step itself adds would hide where they start
    steps(model, tokenizer, optimizer, 1, first=3)
    for name, t in layers_of(model).items():
        came = (sparse.masks()[name].numpy() == 1) & (before[name] == 0)
        assert came.any() and not t.detach().numpy()[came].any()
        gone = (sparse.masks()[name].numpy() == 0) & (before[name] == 1)
        assert gone.any() and not optimizer.state[t]["momentum_buffer"].numpy()[gone].any()


def trainer(tokenizer, folder, model, callback, **kwargs):
    return tenon.Trainer(model, arguments(folder, **{"num_train_epochs": 3, **kwargs}), train_dataset=examples(tokenizer, 26),
                         processing_class=tokenizer, callbacks=[callback])


@pytest.mark.parametrize("method", ["set", "rigl", "magnitude"])
@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor"])
def test_trainer_resumes_masks_to_the_same_bits(tokenizer, tmp_path, method, optim):
    """21 steps with updates at 4, 8 and 12, cut at 10."""
    def callback():
        return SparseTrainingCallback(method, 0.25, every=4, end=14, seed=5)

    whole = trainer(tokenizer, tmp_path / "whole", classifier(tokenizer), callback(), optim=optim)
    own = whole.callback_handler.callbacks[1]
    whole.train()
    trainer(tokenizer, tmp_path / "parts", classifier(tokenizer), callback(), optim=optim, save_strategy="steps", save_steps=10).train()
    resumed = callback()
    again = trainer(tokenizer, tmp_path / "parts", classifier(tokenizer, seed=9), resumed, optim=optim)
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-10"))
    same(weights(whole.model), weights(again.model))
    for name, mask in own.sparse.masks().items():
        assert (mask.numpy() == resumed.sparse.masks()[name].numpy()).all()
    assert own.sparse.step == resumed.sparse.step == 21
    zeros_hold(again.model, resumed.sparse.masks())


def test_seeds(tokenizer):
    def masks(seed):
        model = classifier(tokenizer)
        return {n: m.numpy() for n, m in SparseTraining(model, tenon.optim.AdamW(model.parameters()), seed=seed, end=9).masks().items()}

    a, b, c = masks(1), masks(1), masks(2)
    assert all((a[n] == b[n]).all() for n in a) and any((a[n] != c[n]).any() for n in a)


def test_gradients_are_masked_before_they_are_clipped(tokenizer):
    model = classifier(tokenizer)
    sparse = SparseTraining(model, tenon.optim.AdamW(model.parameters()), "static", 0.25)
    model(**tokenizer("the cat", return_tensors="np"), labels=np.array([1])).loss.backward()
    for name, t in layers_of(model).items():
        assert not t.grad.numpy()[sparse.masks()[name].numpy() == 0].any() and t.grad.numpy().any(), name


def sparse_model(tokenizer, **kwargs):
    model = classifier(tokenizer, hidden_size=64, intermediate_size=128, **kwargs)
    SparseTraining(model, tenon.optim.AdamW(model.parameters()), "static", 0.125).detach()
    return model


def logits(model, tokenizer):
    model.eval()
    with tenon.no_grad():
        return model(**tokenizer([row[0] for row in _texts()[:20]], padding=True, return_tensors="np")).logits.numpy()


def test_files_without_zeros(tokenizer, tmp_path):
    model = sparse_model(tokenizer)
    count = sparsity.save_sparse(model, tmp_path / "sparse")
    model.save_pretrained(tmp_path / "dense")
    assert count == len(layers_of(model))
    names = safetensors.load_file(tmp_path / "sparse" / "model.safetensors").keys()
    assert "bert.encoder.layer.0.output.dense.bitmask" in names and "bert.encoder.layer.0.output.dense.weight" not in names
    opened = tenon.AutoModelForSequenceClassification.from_pretrained(tmp_path / "sparse")
    same(weights(model), weights(opened))
    assert np.abs(logits(model, tokenizer) - logits(opened, tokenizer)).max() < 1e-5
    assert sparsity.rewrite_checkpoint(tmp_path / "sparse", tmp_path / "again", "dense") == 0
    whole, again = (safetensors.load_file(tmp_path / f / "model.safetensors") for f in ("dense", "again"))
    assert whole.keys() == again.keys() and all((whole[n].numpy() == again[n].numpy()).all() for n in whole)
    size = {f: (tmp_path / f / "model.safetensors").stat().st_size for f in ("sparse", "dense")}
    layers = 4 * sum(t.numel() for t in layers_of(model).values())
    assert size["dense"] - size["sparse"] > 0.8 * layers  # an eighth and a bit of each 32 stay


def test_two_four(tokenizer, tmp_path):
    model = classifier(tokenizer)
    dense = {n: t.detach().numpy().copy() for n, t in layers_of(model).items()}
    assert sparsity.prune_two_four(model) == len(dense)
    for name, t in layers_of(model).items():
        groups, before = t.detach().numpy().reshape(-1, 4), dense[name].reshape(-1, 4)
        assert ((groups != 0).sum(1) == 2).all() and (np.sort(np.abs(before), 1)[:, 2:] == np.sort(np.abs(groups), 1)[:, 2:]).all()
    w = layers_of(model)["bert.encoder.layer.0.attention.self.query.weight"]
    values, places = sparsity.pack_two_four(w)
    n, k = w.shape
    assert tuple(values.shape) == (n, k // 2) and tuple(places.shape) == (n, k // 8)
    bits = places.numpy()[:, :, None] >> np.array([0, 2, 4, 6]) & 3
    back = np.zeros((n, k // 4, 4), np.float32)
    np.put_along_axis(back, bits.reshape(n, k // 4, 2).astype(np.int64), values.numpy().reshape(n, k // 4, 2), axis=2)
    assert (back.reshape(n, k) == w.detach().numpy()).all()
    assert sparsity.save_sparse(model, tmp_path / "pairs", "2:4") >= len(dense)
    same(weights(model), weights(tenon.AutoModelForSequenceClassification.from_pretrained(tmp_path / "pairs")))


def test_errors(tokenizer, tmp_path):
    model = classifier(tokenizer)
    optimizer = tenon.optim.AdamW(model.parameters())
    for wrong, part in ((dict(density=0), "density"), (dict(density=1.5), "density"), (dict(method="snip"), "rigl"), (dict(every=0), "every"),
                        (dict(distribution="x"), "erk"), (dict(drop_fraction=2), "drop_fraction"), (dict(begin=9), "begin 9"),
                        (dict(layers=["bert.nothing.*"]), "bert.nothing"), (dict(layers=[]), "none")):
        with pytest.raises(ValueError, match=part):
            SparseTraining(model, optimizer, **{"end": 9, **wrong})
    with pytest.raises(ValueError, match="end: expected the step"):
        SparseTraining(model, optimizer)
    assert not any("mask" in s for s in optimizer.state.values())  # nothing was begun
    with pytest.raises(ValueError, match="does not train"):
        SparseTraining(model, tenon.optim.AdamW(model.classifier.parameters()), end=9)
    sparse = SparseTraining(model, optimizer, end=9)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0)
    name, t = next(iter(sparse.layers))
    state = optimizer.state_dict()
    number = next(k for k, s in state["state"].items() if "mask" in s)
    state["state"][number]["mask"] = tenon.tensor(np.ones((2, 3), np.uint8))
    optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"mask of .*\(2, 3\)"):
        optimizer.step()
    eight = classifier(tokenizer, hidden_size=64, intermediate_size=128)
    eight.train()
    small = tenon.optim.AdamW8bit(eight.parameters(), min_8bit_size=1)
    SparseTraining(eight, small, "set", every=1, end=9)
    with pytest.raises(TypeError, match="moments"):
        steps(eight, tokenizer, small, 2)
    with pytest.raises(ValueError, match="layout"):
        sparsity.save_sparse(model, tmp_path / "x", "csr")
    with pytest.raises(FileNotFoundError):
        sparsity.rewrite_checkpoint(tmp_path / "nowhere", tmp_path / "x", "dense")
