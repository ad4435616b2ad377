"""utils.data, save and load, random states."""
import io

import numpy as np
import pytest

import tenon
import tenon as torch
from conftest import SHARED
from tenon.utils.data import (BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, RandomSampler, StackDataset, Subset, TensorDataset,
                              WeightedRandomSampler, default_collate, get_worker_info, random_split)


class Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        if not 0 <= i < 10:
            raise IndexError(i)
        return {"x": np.array([i, i * i], dtype="float32"), "label": i % 2, "text": f"t{i}"}


def test_batches():
    loader = DataLoader(Squares(), batch_size=4)
    batches = list(loader)
    assert len(loader) == 3 and [len(b["text"]) for b in batches] == [4, 4, 2]
    assert batches[0]["x"].dtype == torch.float32 and batches[0]["label"].tolist() == [0, 1, 0, 1] and batches[0]["text"] == ["t0", "t1", "t2", "t3"]
    assert len(list(DataLoader(Squares(), 4, drop_last=True))) == 2
    assert [b["x"].tolist() for b in DataLoader(Squares(), 4, num_workers=2)] == [b["x"].tolist() for b in batches]
    assert [b["text"] for b in DataLoader(Squares(), batch_size=None)] == [f"t{i}" for i in range(10)]

    def order(seed):
        torch.manual_seed(seed)
        return [t for b in DataLoader(Squares(), 3, shuffle=True) for t in b["text"]]

    assert order(1) == order(1) and order(1) != order(2) and sorted(order(1)) == sorted(f"t{i}" for i in range(10))
    own = [b["text"] for b in DataLoader(Squares(), 5, shuffle=True, generator=torch.Generator().manual_seed(4))]
    assert own == [b["text"] for b in DataLoader(Squares(), 5, shuffle=True, generator=torch.Generator().manual_seed(4))]


def test_data_sets():
    x = TensorDataset(torch.arange(6), torch.arange(6) * 2)
    assert x[2][1].item() == 4 and len(x) == 6 and [t.tolist() for t in next(iter(DataLoader(x, 3)))] == [[0, 1, 2], [0, 2, 4]]
    with pytest.raises(ValueError, match="one length"):
        TensorDataset(torch.zeros(2), torch.zeros(3))
    both = x + Squares()
    assert len(both) == 16 and both[7]["text"] == "t1" and isinstance(both, ConcatDataset) and both[-1]["text"] == "t9"
    assert Subset(Squares(), [3, 5])[1]["text"] == "t5" and len(StackDataset(a=x, b=x)[0]) == 2
    parts = random_split(Squares(), [0.75, 0.25], generator=torch.Generator().manual_seed(1))
    assert sorted(len(p) for p in parts) == [2, 8] and len({t["text"] for p in parts for t in p}) == 10
    with pytest.raises(ValueError, match="add up to 10"):
        random_split(Squares(), [3, 4])

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Stream(), 2)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="iterable"):
        DataLoader(Stream(), shuffle=True)


def test_samplers_and_collation():
    torch.manual_seed(3)
    assert sorted(RandomSampler(range(5))) == list(range(5)) and len(list(RandomSampler(range(5), True, 12))) == 12
    assert set(WeightedRandomSampler([0.0, 1.0, 0.0], 8)) == {1} and list(BatchSampler(range(5), 2)) == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="batch_size"):
        DataLoader(Squares(), 0)
    assert default_collate([(1.5, {"a": [1, 2]}), (2.5, {"a": [3, 4]})])[1]["a"][1].tolist() == [2, 4]
    with pytest.raises(TypeError, match="object"):
        default_collate([object()])
    seen = []
    list(DataLoader(Squares(), 5, num_workers=1, collate_fn=lambda b: seen.append(get_worker_info().id)))
    assert seen == [0, 0] and get_worker_info() is None


def test_errors_in_workers_come_out():
    class Bad(Squares):
        def __getitem__(self, i):
            raise OSError(f"no example {i}")

    with pytest.raises(OSError, match="no example"):
        list(DataLoader(Bad(), 2, num_workers=2))


def test_save_and_load(tmp_path):
    shared = torch.randn(3)
    state = {"model": {"w": torch.randn(2, 3), "half": torch.ones(2).bfloat16()}, "steps": 7, "lr": 1e-3, "groups": [(1, "a", None), {3: shared, "again": shared}],
             "inf": float("inf"), "flag": True, "kind": torch.float16, "empty": torch.zeros(0, 4), "array": np.arange(3)}
    for target in (tmp_path / "state.pt", io.BytesIO()):
        torch.save(state, target)
        if hasattr(target, "seek"):
            target.seek(0)
        found = torch.load(target)
        assert torch.equal(found["model"]["w"], state["model"]["w"]) and found["model"]["half"].dtype == torch.bfloat16
        assert found["steps"] == 7 and found["lr"] == 1e-3 and found["groups"][0] == (1, "a", None) and found["inf"] == float("inf")
        assert found["groups"][1][3] is found["groups"][1]["again"] and found["flag"] is True and found["kind"] == torch.float16
        assert found["empty"].shape == (0, 4) and found["array"].tolist() == [0, 1, 2]
        found["model"]["w"].zero_()
    with pytest.raises(TypeError, match="net: .*state_dict"):
        torch.save({"net": torch.nn.Linear(1, 1)}, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "missing")
    (tmp_path / "bad").write_bytes(b"garbage" * 10)
    with pytest.raises(ValueError):
        torch.load(tmp_path / "bad")
    tenon.safetensors.save_file({"w": torch.ones(2)}, tmp_path / "plain.safetensors")
    assert torch.load(tmp_path / "plain.safetensors")["w"].tolist() == [1, 1]


def test_files_of_torch():
    path = next((p for p in SHARED.rglob("pytorch_model.bin")), None)
    if path is None:
        pytest.skip("there is no file of PyTorch's here")
    assert all(isinstance(t, tenon.Tensor) for t in torch.load(path).values())


def test_random_state():
    torch.manual_seed(11)
    torch.rand(3)
    state = torch.get_rng_state()
    drop = torch.nn.Dropout(0.5)
    first = torch.randn(4).tolist(), drop(torch.ones(50)).tolist(), torch.randint(0, 9, (5,)).tolist()
    torch.set_rng_state(state)
    assert first == (torch.randn(4).tolist(), drop(torch.ones(50)).tolist(), torch.randint(0, 9, (5,)).tolist())
    with torch.fork_rng():
        torch.rand(5)
    with pytest.raises(ValueError, match="get_rng_state"):
        torch.set_rng_state(torch.zeros(4, dtype=torch.uint8))
