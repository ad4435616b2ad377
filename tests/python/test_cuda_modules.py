"""Modules, optimisers, the Trainer and adapters on a device: they follow the CPU's."""
import copy
import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

import tenon
from conftest import GOLDEN
from on_device import elsewhere, is_emulated, on_a_device, run_on_the_emulated_library
from tenon import nn
from tenon.distillation import DistillationTrainer
from tenon.nn import functional as F
from tenon.safetensors import load_file
from training_data import arguments, classifier, examples, same


@elsewhere
def test_on_the_emulated_library():
    run_on_the_emulated_library(__file__)


class Net(nn.Module):
    """A model of one's own: words, attention, a feed-forward part, norms, dropout, a buffer."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 8, padding_idx=0)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.body = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Dropout(0.1), nn.RMSNorm(12), nn.Linear(12, 12), nn.SiLU(), nn.LayerNorm(12))
        self.head = nn.Linear(12, 3)
        self.register_buffer("scale", tenon.full((3,), 0.5))

    def forward(self, input_ids, labels=None, attention_mask=None):
        h = self.layer(self.words(input_ids))
        if attention_mask is not None:
            h = h * attention_mask.unsqueeze(-1).float()
        logits = self.head(self.body(h).mean(1)) * self.scale
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}


IDS = np.random.default_rng(2).integers(0, 30, (6, 5))
LABELS = np.array([0, 2, 1, 1, 0, 2])


@on_a_device
def test_modules_move_and_keep_their_parameters():
    tenon.manual_seed(1)
    net = Net().eval()
    want = net(tenon.tensor(IDS))["logits"]
    parameters, names = list(net.parameters()), list(net.state_dict())
    net(tenon.tensor(IDS), tenon.tensor(LABELS))["loss"].backward()
    assert net.to("cuda") is net and all(p.is_cuda for p in net.parameters()) and net.scale.is_cuda
    assert all(a is b and a.grad.is_cuda for a, b in zip(net.parameters(), parameters) if a.grad is not None)
    for ids in (tenon.tensor(IDS), tenon.tensor(IDS).to("cuda")):  # indices may lie on either side
        got = net(ids)["logits"]
        assert got.is_cuda and np.abs(got.detach().cpu().numpy() - want.detach().numpy()).max() <= 1e-5
    twin = copy.deepcopy(net)
    assert next(twin.parameters()).is_cuda
    state = net.state_dict()
    assert list(state) == names
    net.to("cpu")
    assert np.array_equal(net(tenon.tensor(IDS))["logits"].detach().numpy(), want.detach().numpy())
    fresh = Net().to("cuda")
    fresh.load_state_dict(state)
    assert np.abs(fresh.eval()(tenon.tensor(IDS))["logits"].detach().cpu().numpy() - want.detach().numpy()).max() <= 1e-5
    assert nn.Linear(3, 2, device="cuda").weight.is_cuda and nn.LayerNorm(3, device="cuda").weight.is_cuda
    half = nn.Linear(4, 2).to("cuda").bfloat16()
    assert half(tenon.ones(1, 4, device="cuda").bfloat16()).dtype == tenon.bfloat16


def trained(where, make, steps=5):
    tenon.manual_seed(1)
    net = Net().to(where).train()
    optimizer, losses = make(net), []
    for _ in range(steps):
        loss = net(tenon.tensor(IDS).to(where), tenon.tensor(LABELS).to(where))["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, optimizer, net


OPTIMIZERS = {
    "AdamW": lambda m: tenon.optim.AdamW(m.parameters(), lr=1e-2), "amsgrad": lambda m: tenon.optim.AdamW(m.parameters(), lr=1e-2, amsgrad=True),
    "AdamW8bit": lambda m: tenon.optim.AdamW8bit(m.parameters(), lr=1e-2, min_8bit_size=16), "SGD": lambda m: tenon.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    "Adafactor": lambda m: tenon.optim.Adafactor(m.parameters()), "Adafactor_lr": lambda m: tenon.optim.Adafactor(m.parameters(), lr=1e-2, relative_step=False, beta1=0.9),
}


@on_a_device
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_follow_the_cpu_and_keep_their_states_there(name, tmp_path):
    (want, _, _), (got, optimizer, net) = trained("cpu", OPTIMIZERS[name]), trained("cuda", OPTIMIZERS[name])
    assert np.abs(np.subtract(want, got)).max() <= 2e-3
    for state in optimizer.state.values():
        assert all(t.is_cuda for k, t in state.items() if k != "step")
    tenon.save(optimizer.state_dict(), tmp_path / "optimizer")
    other = OPTIMIZERS[name](net)
    other.load_state_dict(tenon.load(tmp_path / "optimizer"))  # from the host's memory to where the parameters lie
    net(tenon.tensor(IDS), tenon.tensor(LABELS))["loss"].backward()
    other.step()
    assert all(t.is_cuda for s in other.state.values() for k, t in s.items() if k != "step")


@on_a_device
def test_the_trainer_trains_a_model_of_ones_own_there(tmp_path):
    data = [{"input_ids": list(map(int, row)), "attention_mask": [1] * 5, "labels": int(label)} for row, label in zip(IDS, LABELS)]
    ends = []
    for where in ("cpu", "cuda"):
        tenon.manual_seed(1)
        net = Net().to(where)
        options = arguments(tmp_path / where, max_steps=6, save_steps=3, save_strategy="steps", optim="adamw_torch")
        trainer = tenon.Trainer(model=net, args=options, train_dataset=data, eval_dataset=data)
        ends.append((trainer.train().training_loss, trainer.evaluate()["eval_loss"]))
        if where == "cuda":
            assert all(p.is_cuda for p in net.parameters())
            again = tenon.Trainer(model=Net().to(where), args=options, train_dataset=data)
            again.train(resume_from_checkpoint=str(next((tmp_path / where).glob("checkpoint-3"))))
            same(*({n: p.detach().cpu().numpy() for n, p in m.named_parameters()} for m in (net, again.model)), tolerance=1e-3)
    assert np.abs(np.subtract(*ends)).max() <= 1e-3


@on_a_device
def test_distillation_with_teacher_and_student_there(tokenizer, tmp_path):
    ends = []
    for where in ("cpu", "cuda"):
        tenon.manual_seed(4)
        teacher, student = classifier(tokenizer).to(where).eval(), classifier(tokenizer).to(where)
        for hidden in (0.0, 1.0):
            trainer = DistillationTrainer(model=student, teacher=teacher, args=arguments(tmp_path / where, max_steps=3), train_dataset=examples(tokenizer, 6), processing_class=tokenizer,
                                          temperature=2.0, alpha=0.5, hidden_weight=hidden)
            ends.append(trainer.train().training_loss)
    assert np.abs(np.subtract(ends[:2], ends[2:])).max() <= 1e-3


@on_a_device
@pytest.mark.parametrize("late", [False, True])
def test_lora_there(tmp_path, late):
    folder = GOLDEN / "llama"
    inputs = load_file(folder / "inputs.safetensors")
    given = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    config = lambda r: tenon.LoraConfig(r=r, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")  # noqa: E731
    ends = {}
    for where in ("cpu", "cuda"):
        tenon.manual_seed(7)
        base = tenon.AutoModelForCausalLM.from_pretrained(folder)
        if not late:
            base.to(where)
        model = tenon.get_peft_model(base, config(4))
        model.add_adapter("second", config(2))
        if late:  # with its adapters
            model.to(where)
        assert all(p.device.type == where for n, p in model.named_parameters() if "lora" in n)
        found = [model(**given).logits]
        model.set_adapter("second")
        found.append(model(**given).logits)
        model.set_adapter("default")
        model.train()
        optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(3):
            loss = model(**given, labels=given["input_ids"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        found += [loss.reshape(1), model(**given).logits]
        model.save_pretrained(tmp_path / where)
        opened = tenon.PeftModel.from_pretrained(tenon.AutoModelForCausalLM.from_pretrained(folder, device=where), tmp_path / where)
        found.append(opened(**given).logits)
        assert opened.generate(**given, max_new_tokens=3).shape[0] == given["input_ids"].shape[0]
        with model.disable_adapter():
            found.append(model(**given).logits)
        model.merge_adapter()
        found.append(model(**given).logits)
        model.unmerge_adapter()
        whole = model.merge_and_unload()
        found.append(whole(**given).logits)
        assert all(t.device.type == where for t in found)
        found.append(whole.to("cpu")(**given).logits)  # what was merged there comes back
        ends[where] = [t.detach().cpu().numpy() for t in found]
    for a, b in zip(ends["cpu"], ends["cuda"]):
        assert np.abs(a - b).max() <= 1e-3 * np.abs(a).max()
    assert np.abs(ends["cuda"][3] - ends["cuda"][4]).max() <= 1e-4 * np.abs(ends["cuda"][3]).max()


@on_a_device
@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_virtual_tokens_there(tmp_path, kind):
    folder = GOLDEN / "llama"
    inputs = load_file(folder / "inputs.safetensors")
    given = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    config = {"prompt": tenon.PromptTuningConfig, "prefix": tenon.PrefixTuningConfig}[kind]
    ends = {}
    for where in ("cpu", "cuda"):
        tenon.manual_seed(7)
        model = tenon.get_peft_model(tenon.AutoModelForCausalLM.from_pretrained(folder, device=where), config(num_virtual_tokens=4, task_type="CAUSAL_LM"))
        optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        found = []
        model.train()
        for _ in range(2):
            loss = model(**given, labels=given["input_ids"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.reshape(1))
        model.eval()
        found.append(model(**given).logits)
        model.save_pretrained(tmp_path / where)
        opened = tenon.PeftModel.from_pretrained(tenon.AutoModelForCausalLM.from_pretrained(folder, device=where), tmp_path / where)
        found.append(opened(**given).logits)
        ids = model.generate(**given, max_new_tokens=4)
        ends[where] = [*(t.detach().cpu().numpy() for t in found), ids.numpy()]
    for a, b in zip(ends["cpu"], ends["cuda"]):
        assert np.abs(a - b).max() <= 1e-3 * np.abs(a).max()


@on_a_device
def test_a_model_on_the_second_device(tokenizer):
    model = classifier(tokenizer).eval()
    inputs = tokenizer(["the cat sat", "a bank"], padding=True, return_tensors="pt")
    want = model(**inputs).logits.numpy()
    model.to("cuda:1")
    got = model(**inputs.to("cuda:1")).logits
    assert got.device == model.device == tenon.device("cuda:1") and np.abs(got.cpu().numpy() - want).max() <= 1e-5
    net = Net().eval()
    want = net(tenon.tensor(IDS))["logits"].detach().numpy()
    net.to("cuda:0").to("cuda:1")
    got = net(tenon.tensor(IDS))["logits"]
    assert got.device.index == 1 and np.abs(got.detach().cpu().numpy() - want).max() <= 1e-5
    got.sum().backward()
    assert all(p.grad is None or p.grad.device.index == 1 for p in net.parameters())
    tenon.optim.AdamW(net.parameters()).step()
    with pytest.raises(RuntimeError, match="(?s)cuda:0.*cuda:1|cuda:1.*cuda:0"):
        net.head(tenon.ones(1, 12, device="cuda:0"))


@on_a_device
def test_two_devices_of_different_kind():
    if not is_emulated():
        pytest.skip("devices of the machine are what they are")
    kinds = [tenon.cuda.get_device_properties(i) for i in range(2)]
    assert kinds[0][:4] != kinds[1][:4] and tenon.cuda.get_device_capability("cuda:1") == (8, 0)
    nets = [copy.deepcopy(net) for net in [Net().eval()] for _ in range(2)]  # each computes with its own kernels, memory and limits
    answers = [net.to(f"cuda:{i}")(tenon.tensor(IDS))["logits"].detach() for i, net in enumerate(nets)]
    assert [a.device.index for a in answers] == [0, 1] and np.array_equal(answers[0].cpu().numpy(), answers[1].cpu().numpy())
    tenon.cuda.empty_cache()
    tenon.cuda.set_memory_limit(tenon.cuda.memory_reserved("cuda:1"), "cuda:1")
    try:
        with pytest.raises(MemoryError, match="cuda:1"):
            tenon.zeros(1000, 1000, device="cuda:1")
        assert tenon.ones(1000, 1000, device="cuda:0").sum().item() == 1e6
    finally:
        tenon.cuda.set_memory_limit(0, "cuda:1")
    with pytest.raises(RuntimeError, match="cuda:0 to cuda:1"):
        tenon.zeros(1, device="cuda:2")


@on_a_device
def test_a_lost_device_is_said_and_the_host_goes_on(tokenizer):
    if not is_emulated():
        pytest.skip("a device is not broken for a test")

    class Settings(ctypes.Structure):
        _fields_ = [("total_bytes", ctypes.c_size_t), ("no_pinned", ctypes.c_bool), ("lost", ctypes.c_bool)]

    library = ctypes.CDLL(os.environ["TENON_CUDA_LIBRARY"])
    library.tenon_emulator_settings.restype = ctypes.POINTER(Settings)
    settings = library.tenon_emulator_settings().contents
    model, x = classifier(tokenizer).eval(), tenon.ones(3, device="cuda")
    inputs = tokenizer("the cat sat", return_tensors="pt")
    want = model(**inputs).logits.numpy()
    settings.lost = True
    try:
        for f in (lambda: x + 1, lambda: x.sum().item(), lambda: x.cpu(), lambda: model.to("cuda")):
            with pytest.raises(RuntimeError, match="illegal memory access"):
                f()
        assert model.device.type == "cpu" and np.array_equal(model(**inputs).logits.numpy(), want)
    finally:
        settings.lost = False
    assert (x + 1).tolist() == [2.0, 2.0, 2.0]


@on_a_device
def test_a_driver_that_is_too_old_is_said():
    if not is_emulated():
        pytest.skip("the machine has its driver")
    script = """
import tenon
assert not tenon.cuda.is_available() and tenon.cuda.device_count() == 0 and "too old" in tenon.cuda.why_not()
for f in (lambda: tenon.zeros(2, device="cuda"), lambda: tenon.tensor([1.0]).to("cuda"), lambda: tenon.nn.Linear(2, 2).to("cuda"), lambda: tenon.nn.Linear(2, 2, device="cuda")):
    try:
        f()
    except RuntimeError as error:
        assert "driver is too old" in str(error) and "cuda" in str(error), error
    else:
        raise SystemExit("expected an error")
assert (tenon.ones(2) + 1).tolist() == [2.0, 2.0]
"""
    reason = "the NVIDIA driver is too old: it knows CUDA 11.4, this library needs 13.0"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "TENON_EMULATOR_WHY_NOT": reason})
    assert done.returncode == 0, done.stdout + done.stderr
