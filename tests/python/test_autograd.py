"""Gradients of Python tensors: finite differences in float64 for every operation, float32 against float64, and PyTorch's rules."""
import gc
import threading
import weakref

import numpy as np
import pytest

import tenon
import tenon as torch
from tenon.nn import functional as F


def numbers(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng(seed + sum(shape)).uniform(low, high, shape)


X, Y, P = numbers(3, 4), numbers(3, 4, seed=9), numbers(3, 4, seed=5, low=0.2, high=0.9)
V, B3, B2 = numbers(4), numbers(2, 3, 4), numbers(2, 4, 5)
INDEX = np.array([[0, 2, 1, 2], [1, 1, 0, 2]])
MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])

# name -> (function of tensors, their values)
CASES = {
    "add": (lambda x, y: x + y, X, V), "sub": (lambda x, y: x - y, V, X), "mul": (lambda x, y: x * y, X, V), "div": (lambda x, y: x / y, X, P),
    "number": (lambda x: 2 - x * 3 + 1 / (x + 5), X), "pow": (lambda x, y: x**y, P, Y), "square": (lambda x: x**2, X), "cube": (lambda x: x**3, X),
    "rpow": (lambda x: 2.0**x, X), "neg": (lambda x: -x, X), "abs": (lambda x: x.abs(), X), "maximum": (lambda x, y: torch.maximum(x, y), X, Y),
    "minimum": (lambda x, y: x.minimum(y), X, Y), "remainder": (lambda x, y: x % y, X, P), "atan2": (lambda x, y: x.atan2(y), X, Y),
    "logaddexp": (lambda x, y: torch.logaddexp(x, y), X, Y), "lerp": (lambda x, y: torch.lerp(x, y, 0.3), X, Y),
    "addcmul": (lambda x, y, z: x.addcmul(y, z, value=0.5), X, Y, P), "addcdiv": (lambda x, y, z: x.addcdiv(y, z, value=0.5), X, Y, P),
    **{name: (lambda x, name=name: getattr(x, name)(), X) for name in
       ("exp", "exp2", "expm1", "square", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "sigmoid", "erf", "relu")},
    **{name: (lambda x, name=name: getattr(x, name)(), P) for name in
       ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "asin", "acos")},
    "clamp": (lambda x: x.clamp(-0.5, 1), X), "clamp min": (lambda x: x.clamp(min=0.1), X), "clamp tensors": (lambda x, y: x.clamp(max=y), X, Y),
    "softmax": (lambda x: x.softmax(-1), X), "softmax 0": (lambda x: x.softmax(0), X), "log_softmax": (lambda x: x.log_softmax(-1), X),
    "log_softmax 1 of 3": (lambda x: torch.log_softmax(x, 1), B3), "logsumexp": (lambda x: x.logsumexp(1), X),
    "matmul": (lambda x, y: x @ y.t(), X, Y), "vector": (lambda x, y: x @ y, V, V), "matrix vector": (lambda x, y: x @ y, X, V),
    "vector matrix": (lambda x, y: x @ y, V, numbers(4, 3)), "batched": (lambda x, y: x @ y, B3, B2), "batched 2d": (lambda x, y: x @ y, B3, numbers(4, 5)),
    "batched broadcast": (lambda x, y: torch.matmul(x, y), X, B2), "outer": (lambda x, y: torch.outer(x, y), V, numbers(3)),
    "addmm": (lambda x, y, z: torch.addmm(x, y, z), numbers(3, 5), X, numbers(4, 5)),
    "sum": (lambda x: x.sum(), X), "sum dim": (lambda x: x.sum(0), X), "sum dims": (lambda x: x.sum((0, 2), keepdim=True), B3),
    "mean": (lambda x: x.mean(), X), "mean dim": (lambda x: x.mean(-1), X), "var": (lambda x: x.var(), X), "var dim": (lambda x: x.var(1, unbiased=False), X),
    "std": (lambda x: x.std(0), X), "norm": (lambda x: x.norm(), X), "norm 1": (lambda x: x.norm(1, dim=1), X), "norm 3": (lambda x: x.norm(3, -1, True), X),
    "prod": (lambda x: x.prod(), P), "prod dim": (lambda x: x.prod(1), X), "max": (lambda x: x.max(), X), "max dim": (lambda x: x.max(1).values, X),
    "min dim": (lambda x: x.min(0, keepdim=True)[0], X), "amax": (lambda x: x.amax((0, 1)), B3), "median": (lambda x: x.median(1).values, numbers(3, 5)),
    "cumsum": (lambda x: x.cumsum(1), X), "sort": (lambda x: x.sort(-1, descending=True).values, X), "topk": (lambda x: x.topk(2).values, X),
    "view": (lambda x: x.view(4, 3) * 2, X), "reshape": (lambda x: x.reshape(-1, 2), X), "flatten": (lambda x: x.flatten(1), B3),
    "squeeze": (lambda x: x.unsqueeze(1).squeeze(1), X), "transpose": (lambda x: x.transpose(0, 2), B3), "permute": (lambda x: x.permute(2, 0, 1), B3),
    "T": (lambda x: x.T * 2, X), "movedim": (lambda x: x.movedim(0, -1), B3), "expand": (lambda x: x.expand(3, -1), V), "repeat": (lambda x: x.repeat(2, 3), X),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), X), "flip": (lambda x: x.flip(0, 1), X), "roll": (lambda x: x.roll(1, 1), X),
    "tril": (lambda x: x.tril(), X), "triu": (lambda x: x.triu(1), X), "diagonal": (lambda x: x.diagonal(), X), "diag": (lambda x: torch.diag(x), V),
    "chunk": (lambda x: x.chunk(2, 1)[1], X), "split": (lambda x: x.split([1, 2])[1], X), "unbind": (lambda x: x.unbind(1)[2], X),
    "row": (lambda x: x[1], X), "rows": (lambda x: x[1:], X), "slice": (lambda x: x[:, 1:3], X), "step": (lambda x: x[::2, ::-1], X),
    "ellipsis": (lambda x: x[..., 0], B3), "none": (lambda x: x[:, None], X), "integer array": (lambda x: x[INDEX[0][:3] % 3], X),
    "two arrays": (lambda x: x[[0, 1, 1], [2, 2, 2]], X), "mask": (lambda x: x[torch.tensor(MASK)], X), "masked_select": (lambda x: x.masked_select(torch.tensor(MASK)), X),
    "gather": (lambda x: x.gather(1, torch.tensor(INDEX)), X), "gather 0": (lambda x: torch.gather(x, 0, torch.tensor(INDEX)), X),
    "index_select": (lambda x: x.index_select(1, torch.tensor([3, 3, 0])), X), "take_along_dim": (lambda x: x.take_along_dim(x.argsort(1), 1), X),
    "masked_fill": (lambda x: x.masked_fill(torch.tensor(MASK), 3.0), X), "where": (lambda x, y: torch.where(torch.tensor(MASK), x, y), X, V),
    "where number": (lambda x: torch.where(x > 0, x * 2, 0.0), X), "scatter": (lambda x, y: x.scatter(1, torch.tensor([[0, 1], [2, 3], [1, 0]]), y), X, Y),
    "scatter_add": (lambda x, y: x.scatter_add(0, torch.tensor(INDEX), y), X, Y), "index_add": (lambda x, y: x.index_add(0, torch.tensor([1, 1, 0]), y), X, Y),
    "cat": (lambda x, y: torch.cat([x, y, x], 1), X, Y), "stack": (lambda x, y: torch.stack((x, y), 1), X, Y), "hstack": (lambda x, y: torch.hstack([x, y]), X, Y),
    "einsum": (lambda x, y: torch.einsum("bij,bjk->bik", x, y), B3, B2), "einsum sum": (lambda x, y: torch.einsum("ij,kl->i", x, y), X, numbers(2, 3)),
    "einsum dots": (lambda x, y: torch.einsum("...i,ij->...j", x, y), B3, numbers(4, 2)), "einsum three": (lambda x, y, z: torch.einsum("i,ij,j", x, y, z), numbers(3), X, V),
    "einsum implicit": (lambda x, y: torch.einsum("ij,jk", x, y), X, numbers(4, 2)),
    "gram": (lambda x: x @ x, numbers(3, 3)), "clone": (lambda x: x.clone() * x, X), "double use": (lambda x: x * x + x.exp() * x, X), "to": (lambda x: x.to(torch.float64) * 2, X),
    # layers and activations
    "linear": (lambda x, w, b: F.linear(x, w, b), B3, numbers(5, 4), numbers(5)), "embedding": (lambda w: F.embedding(torch.tensor(INDEX), w), X),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), B3, V, numbers(4, seed=3)), "layer_norm plain": (lambda x: F.layer_norm(x, (3, 4)), B3),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w, 1e-6), B3, V), "gelu": (lambda x: F.gelu(x), X), "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), X),
    "silu": (lambda x: F.silu(x), X), "elu": (lambda x: F.elu(x, 0.7), X), "selu": (lambda x: F.selu(x), X), "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), X),
    "mish": (lambda x: F.mish(x), X), "softplus": (lambda x: F.softplus(x, 2.0), X), "logsigmoid": (lambda x: F.logsigmoid(x), X),
    "softsign": (lambda x: F.softsign(x), X), "glu": (lambda x: F.glu(x), X), "hardtanh": (lambda x: F.hardtanh(x), X), "normalize": (lambda x: F.normalize(x), X),
    "pad": (lambda x: F.pad(x, (1, -1, 0, 2)), X), "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), B3, B3 * 0.5, B3 + 1),
    # losses
    "kl_div": (lambda x, t: F.kl_div(F.log_softmax(x, -1), F.softmax(t, -1), reduction="batchmean"), X, Y),
    "kl_div log": (lambda x, t: F.kl_div(F.log_softmax(x, -1), F.log_softmax(t, -1), log_target=True, reduction="sum"), X, Y),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([1, -100, 3])), X),
    "cross_entropy smooth": (lambda x: F.cross_entropy(x, torch.tensor([1, 0, 3]), label_smoothing=0.2), X),
    "cross_entropy weight": (lambda x: F.cross_entropy(x, torch.tensor([1, 0, -100]), weight=torch.tensor(P[0]), label_smoothing=0.1), X),
    "cross_entropy soft": (lambda x, t: F.cross_entropy(x, t.softmax(-1), label_smoothing=0.1), X, Y),
    "cross_entropy none": (lambda x: F.cross_entropy(x, torch.tensor([1, 0, -100]), reduction="none"), X),
    "cross_entropy sequence": (lambda x: F.cross_entropy(x, torch.tensor(INDEX), ignore_index=1), numbers(2, 3, 4)),
    "nll_loss": (lambda x: F.nll_loss(x, torch.tensor([1, 0, 2]), reduction="sum"), X), "mse": (lambda x, t: F.mse_loss(x, t), X, Y),
    "l1": (lambda x, t: F.l1_loss(x, t, reduction="sum"), X, Y), "smooth_l1": (lambda x, t: F.smooth_l1_loss(x, t, beta=0.7), X, Y),
    "huber": (lambda x, t: F.huber_loss(x, t, delta=0.6), X, Y), "bce": (lambda x, t: F.binary_cross_entropy(x, t), P, P[::-1].copy()),
    "bce logits": (lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w), X, P, np.abs(V)),
    "cosine": (lambda x, y: F.cosine_similarity(x, y), X, Y), "pairwise": (lambda x, y: F.pairwise_distance(x, y), X, Y),
    "cosine loss": (lambda x, y: F.cosine_embedding_loss(x, y, torch.tensor([1, -1, -1]), margin=-0.9), X, Y),
    "triplet": (lambda x, y, z: F.triplet_margin_loss(x, y, z, margin=3.0), X, Y, P),
    "triplet swap": (lambda x, y, z: F.triplet_margin_loss(x, y, z, margin=3.0, swap=True), X, Y, P),
    "ranking": (lambda x, y: F.margin_ranking_loss(x, y, torch.tensor(np.sign(Y)), margin=0.3), X, V),
    "hinge": (lambda x: F.hinge_embedding_loss(x, torch.tensor(np.sign(Y))), X), "soft margin": (lambda x: F.soft_margin_loss(x, torch.tensor(np.sign(Y))), X),
    "multi margin": (lambda x: F.multi_margin_loss(x, torch.tensor([1, 0, 3])), X), "poisson": (lambda x, t: F.poisson_nll_loss(x, t), X, P),
    "gaussian": (lambda x, t, v: F.gaussian_nll_loss(x, t, v), X, Y, P), "multilabel": (lambda x, t: F.multilabel_soft_margin_loss(x, t), X, P),
}


def weighted(function, values, kind):
    """The result's sum with fixed weights, and the inputs as leaves."""
    leaves = [torch.tensor(v, dtype=kind, requires_grad=True) for v in values]
    y = function(*leaves)
    weights = np.cos(np.arange(y.numel())).reshape(tuple(y.shape))
    return (y * torch.tensor(weights, dtype=y.dtype)).sum(), leaves


@pytest.mark.parametrize("name", CASES)
def test_finite_differences(name):
    function, *values = CASES[name]
    loss, leaves = weighted(function, values, "float64")
    loss.backward()
    for i, leaf in enumerate(leaves):
        expected = np.zeros(values[i].shape)
        for at in np.ndindex(values[i].shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [v.copy() for v in values]
                moved[i][at] += step
                with torch.no_grad():
                    sides.append(weighted(function, moved, "float64")[0].item())
            expected[at] = (sides[0] - sides[1]) / 2e-6
        got = np.zeros_like(expected) if leaf.grad is None else leaf.grad.numpy()
        assert leaf.grad is None or leaf.grad.dtype == torch.float64
        assert np.abs(got - expected).max() <= 1e-6 * max(1, np.abs(expected).max()), (i, got, expected)


@pytest.mark.parametrize("kind, tolerance", [("float32", 2e-5), ("bfloat16", 0.1)])
@pytest.mark.parametrize("name", CASES)
def test_other_types_agree_with_float64(name, kind, tolerance):
    function, *values = CASES[name]
    rounded = [torch.tensor(v, dtype=kind).double().numpy() for v in values]
    if kind == "bfloat16" and name in ("embedding", "take_along_dim", "remainder", "prod", "tan", "pow", "acos", "asin", "median", "layer_norm", "layer_norm plain"):
        pytest.skip("steep, or of a type that this operation does not take")
    low, leaves = weighted(function, rounded, kind)
    high, references = weighted(function, rounded, "float64")
    assert abs(low.item() - high.item()) <= tolerance * max(1, abs(high.item()))
    low.backward()
    high.backward()
    for leaf, reference in zip(leaves, references):
        if reference.grad is None:
            assert leaf.grad is None
            continue
        assert leaf.grad.dtype == leaf.dtype
        assert np.abs(leaf.grad.double().numpy() - reference.grad.numpy()).max() <= tolerance * max(1, np.abs(reference.grad.numpy()).max())


# PyTorch's rules
def leaf(*values):
    return torch.tensor(list(values), requires_grad=True)


def test_leaves_and_flags():
    x = leaf(1.0, 2.0)
    y = x * 2
    assert x.is_leaf and not y.is_leaf and y.requires_grad and x.grad_fn is None and y.grad_fn.name() == "MultiplyBackward0"
    assert y.grad_fn.next_functions[0][0].variable is x and not y.detach().requires_grad and not x.argmax().requires_grad
    assert "requires_grad=True" in repr(x) and "grad_fn=<MultiplyBackward0>" in repr(y) and x.data.requires_grad is False
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1]).requires_grad_()
    with pytest.raises(RuntimeError, match="leaves"):
        y.requires_grad = False


def test_gradients_accumulate_and_do_not_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [1, 1]
    a.grad.mul_(5)
    assert b.grad.tolist() == [1, 1]
    first = a.grad
    (a * b).sum().backward()
    assert a.grad is first and a.grad.tolist() == [8, 9]
    a.grad = None
    g = torch.tensor([1.0, 2.0])
    a.backward(g)
    g.zero_()
    assert a.grad.tolist() == [1, 2]


def test_errors_of_backward():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).backward()
    with pytest.raises(RuntimeError, match="shape"):
        (x * 2).backward(torch.ones(3))
    y = (x.exp()).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time.*retain_graph"):
        y.backward()
    z = (x + 1).sum()  # saved nothing
    z.backward()
    z.backward()
    with pytest.raises(RuntimeError, match="floor_divide"):
        (x // 2).sum().backward()
    with pytest.raises(RuntimeError, match="create_graph"):
        (x * x).sum().backward(create_graph=True)


def test_retain_graph_and_non_scalar():
    x = leaf(1.0, 2.0)
    y = x * x
    y.backward(torch.tensor([1.0, 10.0]), retain_graph=True)
    y.backward(torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [4, 80]


def test_in_place_rules():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 3
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[:1].mul_(2)
    with torch.no_grad():
        x -= 0.5
        x[0] = 3.0
    assert x.tolist() == [3, 1.5] and x.is_leaf
    y = x * 1
    y.mul_(x)
    y += x
    y[0] = 0
    y.sum().backward()
    assert x.grad.tolist() == [0, 4]
    x.grad = None
    y = x * 1
    z = y.exp()
    y.add_(1)  # exp keeps its result, not its input
    z.sum().backward()
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="inplace operation"):
        z.sum().backward()


def test_in_place_through_views():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 1
    y[1:3].mul_(5)
    y.view(2, 2)[1] += x[:2]
    (y * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [1 + 3, 10 + 4, 15, 4]


def test_views_follow_their_base():
    x, w = leaf(1.0, 2.0), leaf(5.0)
    y = x * 1
    first, both = y[0], y.view(2, 1)
    y.mul_(2)
    (first * 3).backward(retain_graph=True)
    assert x.grad.tolist() == [6, 0]
    both[1:].mul_(10)
    (first + y[1] + both.sum()).backward()
    assert x.grad.tolist() == [6 + 4, 40]
    z = torch.zeros(3)
    part = z[1:]
    z.add_(w)
    assert part.requires_grad and not part.is_leaf and part.tolist() == [5, 5]
    part.sum().backward()
    assert w.grad.tolist() == [2]
    u = torch.zeros(3)
    u[1:].add_(w)
    assert u.requires_grad
    w.grad = None
    (u * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert w.grad.tolist() == [6]


def test_in_place_methods_write():
    x = torch.tensor([1.0, -2.0])
    y = x
    x.abs_().add_(1, alpha=2).clamp_(max=3.5)
    x *= 2
    assert y is x and x.tolist() == [6, 7]
    assert x.copy_(torch.tensor(1.0)).tolist() == [1, 1] and x.zero_().tolist() == [0, 0] and x.fill_(2).tolist() == [2, 2]
    w = leaf(1.0)
    x.mul_(w)
    x.sum().backward()
    assert w.grad.tolist() == [4]
    with pytest.raises(RuntimeError, match="cannot be written"):
        torch.tensor([1]).add_(0.5)


def test_modes():
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad and not torch.is_grad_enabled()
        with torch.enable_grad():
            assert (x * 2).requires_grad
    torch.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    torch.set_grad_enabled(True)
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert torch.is_grad_enabled()

    @torch.no_grad()
    def function():
        return x * 2

    @torch.inference_mode
    def other():
        return torch.is_inference_mode_enabled()

    @torch.no_grad()
    def generator():
        yield x * 2

    assert not function().requires_grad and other() and not next(generator()).requires_grad and torch.is_grad_enabled()
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_hooks_and_retained_gradients():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = x.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [[1, 1]] and y.grad.tolist() == [1, 1] and x.grad.tolist() == [20, 20]
    handle.remove()
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_grad_function():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    z = (x * y).sum()
    gx, gy = torch.autograd.grad(z, [x, y], retain_graph=True)
    assert gx.tolist() == [3, 3] and gy.tolist() == [3] and x.grad is None
    with pytest.raises(RuntimeError, match="allow_unused"):
        torch.autograd.grad(z, [leaf(1.0)], retain_graph=True)
    assert torch.autograd.grad(z, [x, leaf(1.0)], allow_unused=True)[1] is None
    h = x * 2
    assert torch.autograd.grad((h * h).sum(), h)[0].tolist() == [4, 8]


def test_own_functions():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.save_for_backward(x)
            ctx.factor = factor
            return x * factor

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False)
            return g * ctx.factor + x * 0, None

    x = leaf(1.0, 2.0)
    y = Double.apply(x, 3)
    assert y.grad_fn.name() == "DoubleBackward0"
    (y * y).sum().backward()
    assert x.grad.tolist() == [18, 36]


def test_the_graph_dies_with_its_tensors():
    x = leaf(1.0)
    y = (x.exp() * 2).softmax(0)
    node = weakref.ref(y.grad_fn)
    gc.disable()
    try:
        del y
        assert node() is None  # no cycle waits for the collector
    finally:
        gc.enable()


def test_anomalies_are_named():
    x = leaf(0.0, 1.0)
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="sqrt gave NaN"):
        (x.sqrt() * 0).sum().backward()
    (leaf(0.0).sqrt() * 0).sum().backward()
    torch.autograd.set_detect_anomaly(True)
    with pytest.raises(RuntimeError, match="NaN"):
        (x.sqrt() * 0).sum().backward()
    torch.autograd.set_detect_anomaly(False)


def test_types_follow_pytorch():
    a, b = torch.tensor([1.0]), torch.tensor(2.0, dtype=torch.float64)
    assert (a * b).dtype == torch.float32 and (torch.tensor([1]) * 1.5).dtype == torch.float32 and (torch.tensor([1]) + b).dtype == torch.float64
    assert (torch.tensor([1]) / 2).dtype == torch.float32 and (torch.tensor([True]) + 1).dtype == torch.int64
    assert torch.promote_types(torch.float16, torch.bfloat16) == torch.float32 and (a.half() * a).dtype == torch.float32
    x = torch.tensor([1.0], dtype=torch.float16, requires_grad=True)
    (x.float() * 3).sum().backward()
    assert x.grad.dtype == torch.float16


def test_a_long_chain_and_threads():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y * 1.0001
    y.backward()
    assert x.grad.item() == pytest.approx(1.0001**5000, rel=1e-3)
    results = []

    def work(i):
        w = leaf(float(i))
        for _ in range(50):
            (w * w).backward()
        results.append(w.grad.item() == 100 * i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert results == [True] * 4


def test_checkpoints_compute_again():
    from tenon.utils.checkpoint import checkpoint, checkpoint_sequential

    calls = []
    weight = leaf(2.0, 3.0)

    def part(x, factor):
        calls.append(1)
        return F.dropout((x * weight).exp(), 0.5) * factor

    def gradients(run):
        torch.manual_seed(4)
        x = leaf(0.1, 0.2)
        weight.grad = None
        y = run(part, x * 1, 3)
        (y * torch.rand(2)).sum().backward()
        return y.tolist(), x.grad.tolist(), weight.grad.tolist()

    assert gradients(lambda f, *args: f(*args)) == gradients(checkpoint) and len(calls) == 3
    layers = [torch.nn.Linear(2, 2) for _ in range(3)]
    x = torch.ones(1, 2)
    checkpoint_sequential(layers, 2, x).sum().backward()
    first = [p.grad.tolist() for m in layers for p in m.parameters()]
    for m in layers:
        m.zero_grad()
    torch.nn.Sequential(*layers)(x).sum().backward()
    assert first == [p.grad.tolist() for m in layers for p in m.parameters()]
