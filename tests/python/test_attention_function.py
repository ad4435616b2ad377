"""torch.nn.functional.scaled_dot_product_attention: the tiled kernel of float32 against attention written out in float64."""
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import tenon
from tenon.nn import functional as F


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def written_out(q, k, v, mask=None, causal=False, scale=None):
    scores = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


KEEP = np.arange(2 * 9).reshape(2, 1, 1, 9) % 4 != 0
CASES = {
    "two dimensions": ((5, 8), (9, 8), {}),
    "three": ((3, 5, 8), (3, 9, 8), {}),
    "four": ((2, 3, 70, 16), (2, 3, 70, 16), {}),
    "causal": ((2, 3, 70, 16), (2, 3, 70, 16), {"causal": True}),
    "causal, more keys": ((2, 3, 5, 8), (2, 3, 9, 8), {"causal": True}),
    "causal, fewer keys": ((2, 3, 9, 8), (2, 3, 5, 8), {"causal": True}),
    "scale": ((2, 3, 5, 8), (2, 3, 9, 8), {"scale": 0.7}),
    "keys that count": ((2, 3, 5, 8), (2, 3, 9, 8), {"mask": KEEP}),
    "bias of keys": ((2, 3, 5, 8), (2, 3, 9, 8), {"mask": numbers(2, 1, 1, 9)}),
    "bias of all keys alike": ((2, 3, 5, 8), (2, 3, 9, 8), {"mask": numbers(1, 9)}),
    "bias of each score": ((2, 3, 5, 8), (2, 3, 9, 8), {"mask": numbers(2, 3, 5, 9)}),
}


@pytest.mark.parametrize("name", CASES)
def test_against_float64(name):
    q_shape, k_shape, options = CASES[name]
    arrays = numbers(*q_shape, seed=1), numbers(*k_shape, seed=2), numbers(*k_shape[:-1], 6, seed=3)
    expected = written_out(*arrays, **options)
    weights = numbers(*expected.shape, seed=4)
    mask = options.get("mask")
    results = {}
    for kind in ("float64", "float32"):  # float64 is written out, and its gradients are checked by finite differences elsewhere
        leaves = [tenon.tensor(a, dtype=kind, requires_grad=True) for a in arrays]
        given = None if mask is None else tenon.tensor(mask, dtype=None if mask.dtype == bool else kind)
        y = F.scaled_dot_product_attention(*leaves, attn_mask=given, is_causal=options.get("causal", False), scale=options.get("scale"))
        assert tuple(y.shape) == expected.shape
        assert np.abs(y.detach().numpy() - expected).max() < (1e-12 if kind == "float64" else 1e-5)
        (y * tenon.tensor(weights, dtype=kind)).sum().backward()
        results[kind] = [t.grad.numpy() for t in leaves]
    for a, b in zip(results["float32"], results["float64"]):
        assert np.abs(a - b).max() < 1e-5 * max(1, np.abs(b).max())


def test_key_heads_are_shared():
    q, k, v = (tenon.tensor(numbers(2, h, 7, 8, seed=h), dtype="float32", requires_grad=True) for h in (6, 2, 2))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    wide = [np.repeat(t.detach().numpy(), 3, 1) for t in (k, v)]
    assert np.abs(y.detach().numpy() - written_out(q.detach().numpy(), *wide, causal=True)).max() < 1e-5
    y.sum().backward()
    assert k.grad.shape == k.shape
    with pytest.raises(ValueError, match="enable_gqa"):
        F.scaled_dot_product_attention(q, tenon.ones(2, 4, 7, 8), tenon.ones(2, 4, 7, 8), enable_gqa=True)


def test_dropout_follows_the_seed_and_keeps_the_mean():
    q, k = tenon.zeros(1, 1, 400, 8), tenon.zeros(1, 1, 64, 8)
    v = tenon.ones(1, 1, 64, 4)
    tenon.manual_seed(5)
    first = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy()
    tenon.manual_seed(5)
    assert (F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy() == first).all()
    assert (F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy() != first).any()
    assert abs(first.mean() - 1) < 0.02 and first.std() > 0.01


def test_bad_input():
    x = tenon.ones(1, 2, 3, 4)
    with pytest.raises(ValueError, match="is_causal or attn_mask"):
        F.scaled_dot_product_attention(x, x, x, attn_mask=tenon.ones(3, 3), is_causal=True)
    with pytest.raises(ValueError):
        F.scaled_dot_product_attention(x, tenon.ones(1, 2, 3, 5), x)


MEASURE = """
import resource
import numpy as np
import tenon
from tenon.nn import functional as F
q = tenon.tensor(np.ones((1, 4, 8192, 16), np.float32), requires_grad=True)
F.scaled_dot_product_attention(q[:, :, :64], q[:, :, :64], q[:, :, :64]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_square():
    """8192 tokens: the scores of four heads would take 1 GB."""
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150
