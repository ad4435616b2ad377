"""tenon.Tensor: PyTorch's names and meanings, checked against NumPy."""
import copy
import pickle

import numpy as np
import pytest

import tenon as torch
from tenon.nn import functional as F


def arrays(*shape, seed=0):
    a = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return a, torch.from_numpy(a)


def test_shapes():
    a, t = arrays(2, 3, 4)
    assert t.shape == (2, 3, 4) and t.size() == (2, 3, 4) and t.size(-1) == 4 and t.dim() == t.ndim == 3 and t.numel() == 24 and len(t) == 2
    assert t.view(6, -1).shape == (6, 4) and t.reshape((4, 6)).shape == (4, 6) and t.flatten(1).shape == (2, 12)
    assert t.unsqueeze(0).shape == (1, 2, 3, 4) and t.unsqueeze(-1).squeeze(-1).shape == t.shape and t[:1].squeeze().shape == (3, 4)
    np.testing.assert_array_equal(t.permute(2, 0, 1), a.transpose(2, 0, 1))
    np.testing.assert_array_equal(t.transpose(-1, -2), a.swapaxes(-1, -2))
    np.testing.assert_array_equal(t[0].T, a[0].T)
    np.testing.assert_array_equal(t[:1].expand(5, -1, -1), np.broadcast_to(a[:1], (5, 3, 4)))
    assert [c.shape for c in t.split(2, dim=1)] == [(2, 2, 4), (2, 1, 4)]
    for wrong in ((5, 5), (7, -1)):
        with pytest.raises(ValueError, match="view"):
            t.view(*wrong)
    with pytest.raises(IndexError):
        t.transpose(0, 9)


def test_indexing():
    a, t = arrays(4, 5)
    for index in (1, -1, slice(1, 3), slice(None, None, 2), (1, 2), (slice(None), 1), (..., 0), [0, 2], None):
        np.testing.assert_array_equal(t[index], a[index])
    np.testing.assert_array_equal(t[t > 0], a[a > 0])
    np.testing.assert_array_equal(t[torch.tensor([2, 0])], a[[2, 0]])
    for wrong in (4, -5):
        with pytest.raises(IndexError, match="index"):
            t[wrong]
    assert [row.tolist() for row in t] == a.tolist()
    t[1, 2] = 9
    t[0] = torch.zeros(5)
    assert a[1, 2] == 9 and not a[0].any()


def test_arithmetic_follows_torch_types():
    a, t = arrays(2, 3)
    i = torch.tensor([1, 2, 3])
    assert i.dtype == torch.int64 and (i + 1).dtype == torch.int64 and (i / 2).dtype == torch.float32 and (i * 0.5).dtype == torch.float32
    assert (t + i).dtype == torch.float32 and (1 - t).dtype == torch.float32 and (t > 0).dtype == torch.bool
    assert (t.bfloat16() + 1).dtype == torch.bfloat16 and (t.bfloat16() + t).dtype == torch.float32 and (t.double() * t).dtype == torch.float64
    np.testing.assert_allclose((2 * t - i) / 3 + t**2, (2 * a - [1, 2, 3]) / 3 + a**2, rtol=1e-6)
    np.testing.assert_allclose(t @ t.T, a @ a.T, rtol=1e-6)
    np.testing.assert_array_equal((t > 0) & ~(t > 1), (a > 0) & ~(a > 1))
    np.testing.assert_array_equal(-abs(t), -abs(a))
    with pytest.raises(ValueError, match="add"):
        t + torch.zeros(7)


def test_reductions():
    a, t = arrays(3, 4)
    np.testing.assert_allclose(t.sum(), a.sum(), rtol=1e-6)
    np.testing.assert_allclose(t.mean(dim=-1, keepdim=True), a.mean(-1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(t.norm(dim=1), np.linalg.norm(a, axis=1), rtol=1e-6)
    np.testing.assert_allclose(t.std(0), a.std(0, ddof=1), rtol=1e-6)
    assert t.argmax().item() == a.argmax() and t.argmax(-1).tolist() == a.argmax(-1).tolist() and t.max().item() == a.max()
    values, indices = t.max(dim=1)
    assert values.tolist() == a.max(1).tolist() and indices.tolist() == a.argmax(1).tolist()
    top = torch.topk(t, 2)
    assert top.values.tolist() == (-np.sort(-a, axis=-1))[:, :2].tolist() and top.indices.shape == (3, 2)
    order = torch.tensor([1.0, 3.0, 3.0, 2.0]).argsort(descending=True)
    assert order.tolist() == [1, 2, 3, 0]
    assert torch.tensor([True, False]).any() and not torch.tensor([True, False]).all() and torch.tensor([2, 3]).sum().item() == 5
    with pytest.raises(ValueError, match="topk"):
        t.topk(9)


def test_softmax_family():
    a, t = arrays(2, 5)
    e = np.exp(a.astype(np.float64) - a.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(torch.softmax(t, dim=-1), p, rtol=1e-6)
    np.testing.assert_allclose(F.log_softmax(t, dim=-1), np.log(p), rtol=1e-5)
    np.testing.assert_allclose(t.softmax(0).sum(0), np.ones(5), rtol=1e-6)
    assert F.softmax(torch.tensor([1e4, 0.0]), dim=-1).tolist() == [1.0, 0.0]
    assert torch.sigmoid(torch.tensor([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(F.normalize(t, p=2, dim=1).norm(dim=1), np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(F.cosine_similarity(t[0], t[1], dim=0), a[0] @ a[1] / np.linalg.norm(a[0]) / np.linalg.norm(a[1]), rtol=1e-5)
    assert F.relu(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    np.testing.assert_allclose(F.gelu(torch.tensor([1.0])), [0.8413447], rtol=1e-6)
    np.testing.assert_allclose(F.cross_entropy(t, torch.tensor([3, -100])), -np.log(p)[0, 3], rtol=1e-5)


def test_making_and_joining():
    assert torch.zeros(2, 3).tolist() == [[0.0] * 3] * 2 and torch.ones((2,)).tolist() == [1.0, 1.0] and torch.arange(3).dtype == torch.int64
    assert torch.tensor(3).dtype == torch.int64 and torch.tensor([1, 2.5]).dtype == torch.float32 and torch.tensor([True]).dtype == torch.bool
    assert torch.full((2,), 7).tolist() == [7, 7] and torch.arange(0, 1, 0.5).tolist() == [0.0, 0.5] and torch.eye(2).tolist() == [[1, 0], [0, 1]]
    a = torch.tensor([[1, 2]])
    assert torch.cat([a, a]).shape == (2, 2) and torch.cat((a, a), dim=1).tolist() == [[1, 2, 1, 2]] and torch.stack([a, a]).shape == (2, 1, 2)
    assert torch.where(a > 1, a, 0).tolist() == [[0, 2]] and torch.tensor([]).shape == (0,) and torch.tensor([[], []]).shape == (2, 0)
    torch.manual_seed(3)
    first = torch.randn(4).tolist()
    torch.manual_seed(3)
    assert torch.randn(4).tolist() == first
    with pytest.raises(ValueError, match="equal length"):
        torch.tensor([[1, 2], [3]])
    with pytest.raises(ValueError, match="equal depth"):
        torch.tensor([1, [2]])
    with pytest.raises(TypeError, match="str"):
        torch.tensor(["a"])
    with pytest.raises(ValueError, match="one shape"):
        torch.stack([torch.zeros(1), torch.zeros(2)])


def test_numbers_and_text():
    t = torch.tensor([[1.5]])
    assert t.item() == 1.5 and float(t) == 1.5 and int(t) == 1 and bool(t) and f"{t[0, 0]:.2f}" == "1.50" and [10, 20][torch.tensor(1)] == 20
    assert repr(torch.tensor([1, 2])) == "tensor([1, 2])" and "dtype=tenon.bfloat16" in repr(t.bfloat16())
    with pytest.raises(ValueError, match="one element"):
        torch.zeros(2).item()
    with pytest.raises(ValueError, match="one element"):
        bool(torch.zeros(2))
    with pytest.raises(TypeError):
        len(torch.tensor(1.0))


def test_bfloat16_rounds_and_becomes_float32_in_numpy():
    t = torch.tensor([1.0, 1.00390625, 3.14159], dtype=torch.bfloat16)
    assert t.numpy().dtype == np.float32 and np.asarray(t).dtype == np.float32
    assert t.tolist() == [1.0, 1.0, 3.140625]
    t[1] = 2.5
    assert t.tolist()[1] == 2.5


def test_copies():
    t = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for other in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), t.clone(), pickle.loads(pickle.dumps(t.bfloat16())).float()):
        assert other.tolist() == t.tolist() and other.data_ptr() != t.data_ptr()
    assert t.detach().data_ptr() == t.data_ptr() and t[1].data_ptr() == t.data_ptr() + 8 and t.cpu() is t
    assert t.to("cpu").to(torch.device("cpu")).to(torch.int64).dtype == torch.int64 and t.to(torch.zeros(1).bfloat16()).dtype == torch.bfloat16


def test_devices():
    assert not torch.cuda.is_available() and torch.device("cpu").type == "cpu" and torch.device("cuda:1").index == 1
    assert torch.zeros(1).device == torch.device("cpu") and str(torch.device("cuda", 0)) == "cuda:0"
    for where in ("cuda", "cuda:0", 0, "tpu"):
        with pytest.raises(RuntimeError):
            torch.zeros(1, device=where)


def test_cuda_says_why_it_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    reason = torch.cuda.why_not()
    assert reason and torch.cuda.device_count() == 0 and torch.cuda.memory_allocated() == 0 and not torch.cuda.is_bf16_supported()
    torch.cuda.empty_cache()
    for ask in (lambda: torch.zeros(1).to("cuda"), lambda: torch.zeros(1).cuda(), lambda: torch.tensor([1.0], device="cuda"),
                lambda: torch.nn.Linear(2, 2).to("cuda"), torch.cuda.get_device_name, torch.cuda.synchronize):
        with pytest.raises(RuntimeError) as error:
            ask()
        assert reason in str(error.value)


def test_grad_modes_are_contexts_and_decorators():
    with torch.no_grad(), torch.inference_mode():
        pass

    @torch.no_grad()
    def plain(x):
        return x + 1

    class Holder:
        @torch.inference_mode()
        def method(self, x):
            return x + 2

        @torch.no_grad
        def bare(self, x):
            return x + 3

    assert plain(1) == 2 and plain.__name__ == "plain" and Holder().method(1) == 3 and Holder().bare(1) == 4
