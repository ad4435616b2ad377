"""Arithmetic of tensors on a device: what the CPU gives, gradients included, in the same place and type."""
import math

import numpy as np
import pytest

import tenon
from on_device import elsewhere, on_a_device, run_on_the_emulated_library
from tenon.distillation import distillation_loss
from tenon.nn import functional as F


@elsewhere
def test_on_the_emulated_library():
    run_on_the_emulated_library(__file__)


RNG = np.random.default_rng(5)
A, B = RNG.standard_normal((3, 4, 5)).astype("f4"), RNG.standard_normal((3, 4, 5)).astype("f4")
POSITIVE = np.abs(A) + 0.5
ROW, COLUMN, SQUARE = A[0, 0], A[:, :1, :1], RNG.standard_normal((6, 6)).astype("f4")
MATRIX = RNG.standard_normal((5, 2)).astype("f4")
WHOLE = RNG.integers(-9, 9, (3, 4, 5))
TRUTH = A > 0

# name: (function, arrays); floats want gradients
OPERATIONS = {
    "add": (lambda a, b: a + b, A, B), "broadcast": (lambda a, b: a * b, A, ROW), "column": (lambda a, b: a - b, COLUMN, A),
    "divide": (lambda a, b: a / b, A, POSITIVE), "numbers": (lambda a: (2 * a + 1) / 3 - 0.5, A), "reflected": (lambda a: 1 / (2 - a), POSITIVE + 3),
    "power": (lambda a: a**3 + a**2 + a**0.5, POSITIVE), "powers": (lambda a, b: a**b, POSITIVE, B), "negative": (lambda a: -a, A),
    "remainder": (lambda a: a % 0.7, A), "floor_divide": (lambda a: (a.detach() // 0.7), A), "maximum": (lambda a, b: a.maximum(b), A, B),
    "minimum": (lambda a, b: a.minimum(b), A, B), "clamp": (lambda a: a.clamp(-0.5, 0.5), A), "atan2": (lambda a, b: a.atan2(b), A, POSITIVE),
    "logaddexp": (lambda a, b: a.logaddexp(b), A, B), "compare": (lambda a, b: (a > b) & (a != 0) | (b <= -1), A, B), "invert": (lambda t: ~t, TRUTH),
    "truths": (lambda t: t.any(1).float() + t.all(2).sum() + t.sum(0).float().mean(), TRUTH), "lerp": (lambda a, b: a.lerp(b, 0.3), A, B),
    **{n: (lambda a, n=n: getattr(a, n)(), POSITIVE if n in ("log", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "log1p") else A) for n in
       ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "sin", "cos", "tan", "sinh", "cosh", "tanh",
        "sigmoid", "erf", "abs", "relu", "sign", "floor", "ceil", "trunc", "round", "atan", "isnan", "isfinite")},
    "asin": (lambda a: a.asin() + a.acos(), A / 10),
    "whole": (lambda w: w * 3 - w // 2 + w % 4 + abs(w) - w**2 + w**9 - 2**abs(w), WHOLE), "bits": (lambda w: (w & 6) + (w | 1) * 2 - (w ^ 3) + ~w, WHOLE), "whole_to_float": (lambda w, a: w * a + w / 2, WHOLE, A),
    # reductions
    "sum": (lambda a: a.sum(), A), "sum_some": (lambda a: a.sum(1) + a.sum((1,)) * 2, A), "sum_ends": (lambda a: a.sum((0, 2)), A),
    "sum_keep": (lambda a: a - a.sum(-1, keepdim=True), A), "mean": (lambda a: a.mean(0) + a.mean(), A), "var": (lambda a: a.var(1) + a.std(unbiased=False), A),
    "norm": (lambda a: a.norm() + a.norm(1, -1).sum() + a.norm(3, 0).sum(), A), "norms": (lambda a: a.norm(math.inf, 1) + a.norm(2, 1), A),
    "amax": (lambda a: a.amax(1) + a.amin((0, 1)), A), "max": (lambda a: a.max(1).values + a.min(1).values, A), "max_index": (lambda a: a.max(2).indices, A),
    "argmax": (lambda a: a.argmax(1) + a.argmin(1), A), "argmax_all": (lambda a: a.argmax(), A), "prod": (lambda a: a.prod(1) + a.prod(), A),
    "logsumexp": (lambda a: a.logsumexp(1), A), "count": (lambda t: t.count_nonzero(1), TRUTH), "whole_sum": (lambda w: w.sum(1) + w.amax(1), WHOLE),
    "cumsum": (lambda w: w.cumsum(1) + w.cumsum(-1), WHOLE), "cumsum_floats": (lambda a: a.cumsum(0) + a.cumsum(1) * a.cumsum(2), A),
    # orders
    "sort": (lambda a: a.sort(1).values + a.sort(-1, descending=True).values, A), "argsort": (lambda a: a.argsort(0) + a.argsort(2, descending=True), A),
    "sort_whole": (lambda w: w.sort(-1).values + w.argsort(1), WHOLE), "sort_ties": (lambda a: (a > 0).argsort(-1) + a.round().argsort(-1, descending=True), A),
    "topk": (lambda a: a.topk(3).values + a.topk(2, largest=False).values.sum() + a.topk(3).indices, A), "median": (lambda a: a.median(1).values + a.median(), A),
    "unique": (lambda a: a.round().unique(), A), "unique_inverse": (lambda w: w.unique(return_inverse=True)[1], WHOLE),
    "unique_counts": (lambda w: w.unique(return_counts=True)[1], WHOLE),
    # shapes
    "transpose": (lambda a: a.transpose(0, 2) * 2, A), "permute": (lambda a: a.permute(2, 0, 1) + 1, A), "t": (lambda s: s.t() @ s, SQUARE),
    "reshape": (lambda a: a.transpose(0, 1).reshape(4, -1).sum(0), A), "flip": (lambda a: a.flip(0, 2), A), "roll": (lambda a: a.roll(2, 1) + a.roll((1, -1), (0, 2)), A),
    "expand": (lambda c: c.expand(3, 4, 5), COLUMN), "repeat": (lambda a: a.repeat(2, 1, 3), A), "interleave": (lambda a: a.repeat_interleave(3, 1), A),
    "split": (lambda a: a.split(2, 1)[1] + a.chunk(2, 1)[0], A), "unbind": (lambda a: a.unbind(1)[2], A), "tril": (lambda s: s.tril(1) + s.triu(2), SQUARE),
    "diagonal": (lambda s: s.diagonal(1), SQUARE), "diag": (lambda r: r.diag(), ROW), "movedim": (lambda a: a.movedim(0, 2), A),
    "squeeze": (lambda c: c.squeeze() * c.unsqueeze(0).sum(), COLUMN), "cat": (lambda a, b: tenon.cat([a, b, a[:, :2]], 1), A, B),
    "cat_last": (lambda a, b: tenon.cat([a, b], -1), A, B), "stack": (lambda a, b: tenon.stack([a, b], 1), A, B),
    "where": (lambda a, b: tenon.where(a > b, a, b * 2), A, B), "masked_fill": (lambda a: a.masked_fill(a > 0.3, -2.0), A),
    "pad": (lambda a: F.pad(a, (1, 2, 0, -1), value=3.0), A),
    # indexing
    "slices": (lambda a: a[1:, ::2, 1:4] + a[:2, 1::2, -3:], A), "backwards": (lambda a: a[:, 2] + a[..., 1].sum() + a[None, 0, :, None].sum(), A),
    "rows": (lambda a: a[[2, 0, 2]], A), "pairs": (lambda a: a[[0, 2], [1, 3]], A), "mask": (lambda a: a[a > 0].exp(), A), "mask_rows": (lambda a: a[:, [True, False, True, True]], A),
    "gather": (lambda a: a.gather(1, tenon.tensor([[[0, 1, 3, 2, 2]], [[1] * 5], [[3] * 5]])), A), "take": (lambda a: a.take(tenon.tensor([3, 3, 59])), A),
    "index_select": (lambda a: a.index_select(2, tenon.tensor([4, 0])), A), "nonzero": (lambda t: t.nonzero(), TRUTH), "masked_select": (lambda a: a.masked_select(a < 0), A),
    "scatter": (lambda a, b: a.scatter(1, tenon.tensor(WHOLE % 4), b.detach()), A[:, :, :5], B), "scatter_add": (lambda a, b: a.scatter_add(1, tenon.tensor(WHOLE % 4), b), A, B),
    "index_add": (lambda s: s.index_add(0, tenon.tensor([1, 1, 3]), s[:3] * 2), SQUARE),
    # products
    "matmul": (lambda a, m: a @ m, A, MATRIX), "matmul_stack": (lambda a, b: a @ b.transpose(1, 2), A, B), "matmul_vector": (lambda a, r: a @ r, A, ROW),
    "matmul_both": (lambda s, t: s.t() @ t.t(), SQUARE, SQUARE + 1), "dot": (lambda r, q: r.dot(q), ROW, B[0, 0]), "outer": (lambda r, q: tenon.outer(r, q), ROW, B[0, 0]),
    "matmul_broadcast": (lambda a, s: a[:, None] @ s[None, :, :4], A[:, :2, :4].copy(), RNG.standard_normal((2, 4, 6)).astype("f4")[:, :, :4].copy()),
    "einsum": (lambda a, b: tenon.einsum("bij,bkj->bik", a, b) + tenon.einsum("bij->b", a)[:, None, None], A, B), "einsum_three": (lambda a, b, s: tenon.einsum("bij,bkj,kl->bil", a, b, s[:4]), A, B, SQUARE), "einsum_one": (lambda a: tenon.einsum("abc->ca", a), A),
    "softmax": (lambda a: a.softmax(-1) + a.softmax(1) * 2, A), "log_softmax": (lambda a: a.log_softmax(-1) + a.log_softmax(0) * 2, A),
    # functions
    "linear": (lambda a, m: F.linear(a, m, m[:, 0]), A, np.ascontiguousarray(MATRIX.T)), "layer_norm": (lambda a, r, q: F.layer_norm(a, (5,), r, q), A, ROW, B[0, 0]),
    "layer_norm_plain": (lambda a: F.layer_norm(a, (4, 5)), A), "rms_norm": (lambda a, r: F.rms_norm(a, (5,), r) + F.rms_norm(a, (5,)), A, ROW),
    **{n: (lambda a, n=n: getattr(F, n)(a), A) for n in ("gelu", "silu", "relu6", "leaky_relu", "elu", "selu", "mish", "softsign", "softplus", "logsigmoid", "hardtanh")},
    "glu": (lambda s: F.glu(s), SQUARE), "gelu_tanh": (lambda a: F.gelu(a, "tanh"), A), "normalize": (lambda a: F.normalize(a, dim=-1), A),
    "embedding": (lambda s: F.embedding(tenon.tensor([[1, 5], [1, 0]]), s, padding_idx=0), SQUARE), "one_hot": (lambda w: F.one_hot(abs(w)[0, 0], 10), WHOLE),
    "attention": (lambda a, b: F.scaled_dot_product_attention(a, b, a * 2, is_causal=True), A, B),
    "attention_mask": (lambda a, b: F.scaled_dot_product_attention(a, b, a, attn_mask=a @ b.transpose(1, 2) > 0), A, B),
    # losses
    "cross_entropy": (lambda s: F.cross_entropy(s, tenon.tensor([0, 5, 2, -100, 1, 1])), SQUARE),
    "cross_entropy_all": (lambda s, w: F.cross_entropy(s, tenon.tensor([0, 5, 2, -100, 1, 1]), w, label_smoothing=0.1), SQUARE, POSITIVE[0, :2].reshape(-1)[:6].copy()),
    "cross_entropy_soft": (lambda s: F.cross_entropy(s, s.detach().softmax(-1)), SQUARE), "nll": (lambda s: F.nll_loss(s.log_softmax(-1), tenon.tensor([0, 5, 2, 3, 1, 1]), reduction="sum"), SQUARE),
    "kl_div": (lambda s, t: F.kl_div(s.log_softmax(-1), t.softmax(-1), reduction="batchmean"), SQUARE, SQUARE.T.copy()),
    "mse": (lambda a, b: F.mse_loss(a, b) + F.l1_loss(a, b) + F.smooth_l1_loss(a, b) + F.huber_loss(a, b, delta=0.4), A, B),
    "bce": (lambda a, t: F.binary_cross_entropy_with_logits(a, t.float()) + F.binary_cross_entropy(a.sigmoid(), t.float()), A, TRUTH),
    "cosine": (lambda a, b: F.cosine_embedding_loss(a[0], b[0], tenon.tensor([1, -1, -1, 1]).to(a.device), margin=0.1), A, B),
    "cosine_similarity": (lambda a, b: F.cosine_similarity(a, b, -1), A, B), "triplet": (lambda a, b: F.triplet_margin_loss(a[0], b[0], b[1]), A, B),
    "margins": (lambda s: F.multi_margin_loss(s, tenon.tensor([0, 5, 2, 3, 1, 1])), SQUARE), "gaussian": (lambda a, b: F.gaussian_nll_loss(a, b, POSITIVE_ON(a)), A, B),
    "distillation": (lambda s, t: distillation_loss(s, t, tenon.tensor([0, 5, 2, -100, 1, 1]), 2.0, 0.3), SQUARE, SQUARE.T.copy()),
}


def POSITIVE_ON(t):
    return tenon.tensor(POSITIVE).to(t.device)


def results(function, arrays, where):
    inputs = [tenon.tensor(a).to(where) for a in arrays]
    for t in inputs:
        if t.is_floating_point():
            t.requires_grad_()
    y = function(*inputs)
    assert y.device.type == where
    if not y.requires_grad:
        return y, []
    (y * tenon.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)).astype("f4")).to(where)).sum().backward()
    assert all(t.grad is None or t.grad.device.type == where for t in inputs)
    return y, [t.grad for t in inputs if t.is_floating_point()]


@on_a_device
@pytest.mark.parametrize("name", OPERATIONS)
def test_as_on_the_cpu(name):
    function, *arrays = OPERATIONS[name]
    (want, wanted), (got, gradients) = results(function, arrays, "cpu"), results(function, arrays, "cuda")
    assert got.dtype == want.dtype and got.shape == want.shape
    for a, b in [(got, want), *zip(gradients, wanted)]:
        assert (a is None) == (b is None)
        if a is None:
            continue
        x, y = a.detach().cpu().numpy(), b.detach().numpy()
        if y.dtype.kind == "f":
            assert np.abs(x - y).max(initial=0) <= 1e-5 * max(1, np.abs(y).max(initial=0))
        else:
            assert np.array_equal(x, y)


@on_a_device
@pytest.mark.parametrize("kind", [tenon.bfloat16, tenon.float16])
def test_half_precision(kind):
    x, y = tenon.tensor(A).to(kind), tenon.tensor(B).to(kind)
    for f in (lambda a, b: a * b + 1, lambda a, b: a.sum(1), lambda a, b: a.softmax(-1), lambda a, b: a[1:, ::2]):
        want, got = f(x, y), f(x.to("cuda"), y.to("cuda"))
        assert got.dtype == want.dtype == kind and got.is_cuda
        assert np.abs(got.cpu().float().numpy() - want.float().numpy()).max() <= 0.01 * np.abs(want.float().numpy()).max()
    z = x.to("cuda")
    z[0] = 2
    z += 1
    assert z.cpu().float().numpy()[0].tolist() == np.full((4, 5), 3.0).tolist()


@on_a_device
def test_in_place_and_written_slices():
    changes = [lambda t: t.add_(2), lambda t: t.mul_(t[0]), lambda t: t.clamp_(-1, 1), lambda t: t.zero_(), lambda t: t.fill_(3), lambda t: t.copy_(t.flip(0)),
               lambda t: t.masked_fill_(t > 0, -1), lambda t: t.__setitem__(1, 5.0), lambda t: t.__setitem__((slice(None), slice(1, 3)), t[:, :2] * 2),
               lambda t: t.__setitem__((slice(None), slice(None, None, 2), slice(None, None, -2)), 7.0), lambda t: t.__setitem__(t > 0.5, 0.0),
               lambda t: t.__setitem__(([0, 2], [1, 1]), t[0, :2]), lambda t: t.__setitem__((..., 3), t[..., 0]), lambda t: t.exp_(), lambda t: t.div_(3), lambda t: t.pow_(2),
               lambda t: t.__setitem__((slice(None), [3, 1]), tenon.ones(2, 5).to(t.device)), lambda t: t.transpose(0, 1).add_(1), lambda t: t[1:].sub_(1), lambda t: t[2].unsqueeze(0).mul_(0)]
    for change in changes:
        ends = []
        for where in ("cpu", "cuda"):
            t = tenon.tensor(A).to(where)
            change(t)
            ends.append(t.cpu().numpy())
        assert np.abs(ends[0] - ends[1]).max() <= 1e-6
    for where in ("cpu", "cuda"):  # a gradient goes through what was written over
        x = tenon.tensor(A).to(where).requires_grad_()
        y = x * 2
        y[0] = 0
        y[:, 1] *= 3
        y.sum().backward()
        ends.append(x.grad.cpu().numpy())
    assert np.array_equal(ends[-1], ends[-2])
    whole = tenon.tensor(WHOLE).to("cuda")
    whole[whole < 0] = 0
    whole += 2
    assert np.array_equal(whole.cpu().numpy(), np.maximum(WHOLE, 0) + 2)


@on_a_device
def test_what_is_made_there_lies_there():
    x = tenon.zeros(2, 3, device="cuda")
    for t in (x, tenon.ones(2, device="cuda"), tenon.full((2,), 3.5, device="cuda"), tenon.arange(4, device="cuda"), tenon.rand(2, device="cuda"), tenon.randn(2, 2, device="cuda"),
              tenon.eye(3, device="cuda"), tenon.linspace(0, 1, 5, device="cuda"), tenon.tensor([1.0], device="cuda"), tenon.zeros_like(x), tenon.ones_like(x), tenon.rand_like(x),
              tenon.full_like(x, 2), x.new_zeros(3), x.new_ones(3), x.new_tensor([1, 2]), x.new_full((2,), 1), tenon.empty(2, device="cuda"), tenon.empty_like(x)):
        assert t.device == tenon.device("cuda:0")
    assert tenon.eye(3, device="cuda").tolist() == np.eye(3).tolist() and tenon.ones_like(x).sum().item() == 6
    assert "device='cuda:0'" in repr(x) and len(list(x)) == 2 and (x == 0).all()


@on_a_device
def test_odd_sizes_and_numbers():
    empty = tenon.zeros(0, 3, device="cuda")
    assert (empty + 1).shape == (0, 3) and empty.sum().item() == 0 and empty.sum(0).tolist() == [0.0] * 3 and tenon.cat([empty, tenon.ones(1, 3, device="cuda")]).shape == (1, 3)
    odd = tenon.tensor([math.nan, math.inf, -math.inf, 0.0], device="cuda")
    assert odd.isnan().tolist() == [True, False, False, False] and odd.isinf().tolist() == [False, True, True, False]
    assert math.isnan(odd.max().item()) and odd.argmax().item() == 0 and odd.nan_to_num() is not None if hasattr(odd, "nan_to_num") else True
    with pytest.raises((IndexError, ValueError)):
        odd[[7]]
    with pytest.raises(IndexError):
        odd[0:2][5]
    with pytest.raises(ValueError, match="broadcast"):
        odd + tenon.zeros(3, device="cuda")


@on_a_device
def test_mixed_devices_and_what_is_missing_are_clear_errors():
    host, there = tenon.tensor(A), tenon.tensor(A).to("cuda")
    for f in (lambda: host + there, lambda: there * host, lambda: there @ host[0].t(), lambda: tenon.cat([there, host]), lambda: tenon.where(there > 0, there, host),
              lambda: there.add_(host), lambda: there.__setitem__(0, host[0]), lambda: there.masked_fill(host > 0, 1.0), lambda: F.linear(there, host[0])):
        with pytest.raises(RuntimeError, match="(?s)cuda:0.*cpu|cpu.*cuda:0"):
            f()
    assert (there + tenon.tensor(2.0)).is_cuda and (tenon.tensor(2) * there).is_cuda  # a number of the host counts as one
    second = tenon.tensor(A).to("cuda:1")
    with pytest.raises(RuntimeError, match="cuda:0.*cuda:1"):
        there + second
    assert np.array_equal((second + there.to("cuda:1")).cpu().numpy(), A + A) and second.to("cuda:0").device.index == 0
    with pytest.raises((RuntimeError, TypeError), match="cpu"):
        there.to(tenon.float64)
    with pytest.raises(ValueError, match="negative integer powers"):
        tenon.tensor(WHOLE).to("cuda") ** -1
    with pytest.raises(ValueError, match="at most 8 dimensions"):
        tenon._core._array_elementwise("exp", [1] * 9, [(there, 0, [0] * 9)], tenon.float32)
    with pytest.raises(RuntimeError, match="cpu"):
        np.asarray(there)
    with pytest.raises(RuntimeError, match="cpu"):
        there.numpy()


@on_a_device
def test_attention_under_autocast_is_in_16_bits():
    function = OPERATIONS["attention"][0]
    exact, wanted = results(function, (A, B), "cuda")
    with tenon.autocast("cuda", dtype=tenon.bfloat16):
        rounded, gradients = results(function, (A, B), "cuda")
    assert rounded.dtype == tenon.float32
    for a, b in [(rounded, exact), *zip(gradients, wanted)]:
        assert 0 < (a - b).abs().max().item() < 0.03 * b.abs().max().item()


@on_a_device
def test_orders_of_what_is_no_number():
    odd = tenon.tensor([2.0, math.nan, -math.inf, 0.0, -0.0, math.inf, math.nan, 2.0])
    for t in (odd, tenon.zeros(0), odd[:1]):
        there = t.to("cuda")
        for f in (lambda x: x.argsort(), lambda x: x.argsort(descending=True), lambda x: x.unique(), lambda x: x.unique(return_counts=True)[1],
                  lambda x: x.cumsum(0)):
            assert np.array_equal(f(there).cpu().numpy(), f(t).numpy(), equal_nan=True)


@on_a_device
def test_a_shortage_leaves_everything_usable():
    x = tenon.ones(64, 64, device="cuda")
    tenon.cuda.empty_cache()
    tenon.cuda.set_memory_limit(tenon.cuda.memory_reserved())
    try:
        with pytest.raises(MemoryError):
            x.expand(500, 64, 64) * 2
    finally:
        tenon.cuda.set_memory_limit(0)
    assert (x * 2).sum().item() == 8192
