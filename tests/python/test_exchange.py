"""Memory shared with NumPy and through DLPack, in both directions."""
import gc

import numpy as np
import pytest

import tenon
from tenon.safetensors import load_file, save_file

TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_round_trips(name, shape):
    a = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(name)
    t = tenon.from_numpy(a)
    assert str(t.dtype) == f"tenon.{name}" and t.shape == shape
    for back in (t.numpy(), np.asarray(t), np.from_dlpack(t), np.array(memoryview(t)), tenon.from_dlpack(a).numpy(), tenon.from_dlpack(t).numpy()):
        assert back.dtype == a.dtype and back.shape == a.shape
        np.testing.assert_array_equal(back, a)


def test_memory_is_shared_and_kept_alive():
    a = np.zeros((2, 3), np.float32)
    t, u = tenon.from_numpy(a), tenon.from_dlpack(a)
    a[1, 2] = 5
    assert t[1, 2].item() == u[1, 2].item() == 5
    t.numpy()[0, 0] = 7
    assert a[0, 0] == 7
    view = tenon.from_numpy(np.full(1000, 3.0)).numpy()
    row = tenon.from_dlpack(np.full((10, 1000), 4.0))[9]
    gc.collect()
    assert (view == 3).all() and row.sum().item() == 4000


def test_strided_and_misaligned_arrays_are_copied():
    a = np.arange(24, dtype=np.int32).reshape(4, 6)
    for strided in (a.T, a[::2, ::-1], a[:, 1:3], np.broadcast_to(a[0], (3, 6))):
        np.testing.assert_array_equal(tenon.from_numpy(strided), strided)
        np.testing.assert_array_equal(tenon.from_dlpack(strided) if strided.flags.writeable else tenon.from_numpy(strided), strided)
    raw = np.frombuffer(b"\0" + np.arange(5, dtype=np.float32).tobytes(), np.uint8)
    np.testing.assert_array_equal(tenon.from_numpy(raw[1:].view(np.float32)), np.arange(5))
    record = np.zeros(3, [("x", np.int8), ("y", np.float32)])
    record["y"] = [1, 2, 3]
    assert tenon.from_numpy(record["y"]).tolist() == [1, 2, 3]


def test_read_only_memory_stays_so(tmp_path):
    save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, tmp_path / "x.safetensors")
    w = load_file(tmp_path / "x.safetensors")["w"]
    assert w.read_only and not w.numpy().flags.writeable and not np.from_dlpack(w).flags.writeable
    for write in (lambda: w.__setitem__(0, 1.0), lambda: w.copy_(w)):
        with pytest.raises(TypeError, match="read-only"):
            write()
    copy = w.clone()
    copy[0] = 9
    assert copy[0].tolist() == [9, 9, 9] and w[0].tolist() == [0, 1, 2]
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    assert tenon.from_numpy(frozen).read_only


def test_wrong_memory():
    for wrong in (np.array(["a"]), np.array([1 + 2j]), np.array([object()]), np.zeros(2, ">f4")):
        with pytest.raises((TypeError, ValueError)):
            tenon.from_numpy(wrong)
    with pytest.raises(TypeError):
        tenon.from_numpy("text")
    with pytest.raises((TypeError, AttributeError)):
        tenon.from_dlpack(3)
    with pytest.raises(BufferError):
        memoryview(tenon.zeros(2).bfloat16())
    with pytest.raises(BufferError):
        tenon.zeros(2).__dlpack__(dl_device=(2, 0))
    assert tenon.zeros(2).__dlpack_device__() == (1, 0)


def test_a_capsule_that_nobody_takes_is_freed():
    t = tenon.zeros(1000)
    for _ in range(100):
        t.__dlpack__()
        t.__dlpack__(max_version=(1, 0))


def test_safetensors_files(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"b": tenon.tensor([1, 2]), "a": tenon.tensor([[1.5]]).bfloat16(), "empty": tenon.zeros(0, 3)}
    save_file(tensors, path, metadata={"format": "pt"})
    back = load_file(path)
    assert set(back) == set(tensors) and all(back[k].tolist() == v.tolist() and back[k].dtype == v.dtype for k, v in tensors.items())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_file(tmp_path / "nowhere.safetensors")


def test_torch_tensors_are_taken_without_importing_torch():
    torch = pytest.importorskip("torch")
    x = torch.arange(6, dtype=torch.float32, requires_grad=True).reshape(2, 3)
    assert tenon.as_tensor(x).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tenon.as_tensor(x.detach().bfloat16()).dtype == tenon.bfloat16
    assert torch.from_dlpack(tenon.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
