"""Models on a GPU, seen from Python. With TENON_CUDA_LIBRARY these tests run on what that library serves; without it they run in a process of
their own on the emulated library that the C++ tests build, if there is one."""
import json

import numpy as np
import pytest

import tenon
from conftest import GOLDEN, SHARED
from on_device import elsewhere, on_a_device, run_on_the_emulated_library
from tenon.safetensors import load_file
from training_data import arguments, classifier, examples, language_model, same, weights


def folder_of(name):
    for folder in (GOLDEN / name, SHARED / "golden" / "cases" / name):
        if (folder / "outputs.safetensors").exists():
            return folder
    pytest.skip(f"there is no golden case {name}")


@elsewhere
def test_on_the_emulated_library():
    run_on_the_emulated_library(__file__)


@on_a_device
def test_how_it_multiplies():
    assert tenon.cuda.tensor_cores() in ("wgmma", "mma.sync") or tenon.cuda.tensor_cores().startswith("mma.sync (")


@on_a_device
@pytest.mark.parametrize("name", ["bert", "vit", "clip", "llama", "deepseek-v3", "t5"])
def test_golden_outputs_and_losses(name):
    folder = folder_of(name)
    meta = json.loads((folder / "meta.json").read_text())
    cls = getattr(tenon, meta["model_class"])
    inputs, reference = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    loaded, moved = cls.from_pretrained(folder, device="cuda"), cls.from_pretrained(folder).to("cuda")
    assert loaded.device == tenon.device("cuda:0") == moved.device
    there = {k: v.to("cuda") for k, v in inputs.items()}
    for model, given in ((loaded, inputs), (moved, there)):  # inputs may lie on either side
        outputs = model(**given, **meta["call"], output_hidden_states=any(k.startswith("hidden_states") for k in reference))
        for key, expected in reference.items():
            field, _, index = key.partition(".")
            t = outputs[field][int(index)] if index else outputs[field]
            assert t.is_cuda
            got, want = t.cpu().numpy(), expected.numpy()
            if "attention_mask" in inputs and got.ndim == 3 and got.shape[1] == inputs["attention_mask"].shape[1]:
                real = inputs["attention_mask"].numpy().astype(bool)
                got, want = got[real], want[real]
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), key
    if "loss" in meta and name != "deepseek-v3":
        labels = load_file(folder / "loss_inputs.safetensors") if (folder / "loss_inputs.safetensors").exists() else {}
        assert abs(loaded(**inputs, **labels, **meta["loss_call"]).loss.item() - meta["loss"]) <= 1e-5 * max(1, abs(meta["loss"]))


@on_a_device
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_generation(name):
    folder = folder_of(name)
    meta = json.loads((folder / "meta.json").read_text())
    model = getattr(tenon, meta["model_class"]).from_pretrained(folder, device="cuda")
    inputs = load_file(folder / "inputs.safetensors")
    given = {k: inputs[k].to("cuda") for k in ("input_ids", "attention_mask")}
    for case in meta["generate"]:
        assert model.generate(**given, **case["arguments"]).tolist() == case["sequences"]
    # Sampling draws the same numbers wherever the model lies.
    cpu = getattr(tenon, meta["model_class"]).from_pretrained(folder)
    drawn = []
    for m in (model, cpu):
        tenon.manual_seed(7)
        drawn.append(m.generate(**given, do_sample=True, max_new_tokens=6, top_k=10).tolist() if m is model else
                     m.generate(**{k: v.cpu() for k, v in given.items()}, do_sample=True, max_new_tokens=6, top_k=10).tolist())
    assert drawn[0] == drawn[1]


@on_a_device
def test_a_model_goes_there_and_back(tmp_path, tokenizer):
    model = classifier(tokenizer).eval()
    inputs = tokenizer(["the cat sat", "a bank"], padding=True, return_tensors="pt")
    want = model(**inputs).logits.numpy()
    first = next(model.parameters())
    assert model.cuda() is model and model.device.type == "cuda"
    got = model(**inputs.to("cuda")).logits
    assert np.abs(got.cpu().numpy() - want).max() <= 1e-5 * np.abs(want).max()
    with pytest.raises((RuntimeError, BufferError)):
        got.numpy()
    model.save_pretrained(tmp_path / "there")
    copied = tenon.BertForSequenceClassification.from_pretrained(tmp_path / "there")
    assert np.abs(copied(**tokenizer(["the cat sat", "a bank"], padding=True, return_tensors="pt")).logits.numpy() - want).max() <= 1e-6
    import copy
    twin = copy.deepcopy(model)
    assert twin.device == model.device
    model.to("cpu")
    assert next(model.parameters()) is first and model.device.type == "cpu"
    assert np.array_equal(model(**tokenizer(["the cat sat", "a bank"], padding=True, return_tensors="pt")).logits.numpy(), want)


@on_a_device
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_training_follows_the_cpu(tokenizer, optimizer):
    batches = [tokenizer(["the cat sat on the mat", "a dog"], padding=True, return_tensors="pt"),
               tokenizer(["hello world", "profit fell sharply ."], padding=True, return_tensors="pt")]
    labels = tenon.tensor([1, 0])
    losses, ends = [], []
    for where in ("cpu", "cuda"):
        model = classifier(tokenizer, dropout=0.1).to(where).train()
        tenon.manual_seed(3)
        steps = getattr(tenon.optim, optimizer)(model.parameters(), lr=1e-2)
        scaler = tenon.amp.GradScaler(init_scale=1024.0)
        curve = []
        for batch in batches * 3:
            loss = model(**batch, labels=labels).loss / 2
            scaler.scale(loss).backward()
            scaler.unscale_(steps)
            tenon.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(steps)
            scaler.update()
            steps.zero_grad()
            curve.append(loss.item())
        losses.append(curve)
        ends.append({n: np.array(p.detach().cpu().numpy()) for n, p in model.named_parameters()})
        assert all(p.device.type == where for p in model.parameters())
    assert np.abs(np.subtract(*losses)).max() < 1e-4
    for end in ends:  # a key's bias changes nothing: Adam divides the rounding noise of its gradient by itself
        for name in [n for n in end if n.endswith("key.bias")]:
            del end[name]
    same(*ends, tolerance=0.02)


@on_a_device
@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float8_e4m3fn"])
def test_autocast_on_a_device(tokenizer, kind):
    batch, labels = tokenizer(["the cat sat on the mat", "a dog"], padding=True, return_tensors="pt"), tenon.tensor([1, 0])
    losses = []
    for where, enabled in (("cpu", False), ("cuda", False), ("cuda", True)):
        model = classifier(tokenizer, dropout=0.0).to(where).train()
        steps, scaler = tenon.optim.AdamW(model.parameters(), lr=2e-3), tenon.amp.GradScaler(init_scale=256.0)
        curve = []
        for _ in range(5):
            with tenon.autocast("cuda", dtype=getattr(tenon, kind), enabled=enabled):
                loss = model(**batch, labels=labels).loss
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            steps.zero_grad()
            curve.append(loss.item())
        losses.append(curve)
    plain, same_there, rounded = np.array(losses)
    assert np.abs(same_there - plain).max() < 1e-4 < np.abs(plain[0] - plain[-1])
    assert (rounded != plain).any() and np.abs(rounded - plain).max() < (0.05 if kind == "float8_e4m3fn" else 0.02)


@on_a_device
def test_trainer_trains_where_the_model_lies(tokenizer, tmp_path):
    ends = []
    for where in ("cpu", "cuda"):
        model = language_model(tokenizer).to(where)
        data = [{"input_ids": e["input_ids"], "labels": e["input_ids"]} for e in examples(tokenizer, 8)]
        trainer = tenon.Trainer(model=model, args=arguments(tmp_path / where, gradient_accumulation_steps=2), train_dataset=data,
                                data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False))
        ends.append(trainer.train().training_loss)
        trainer.save_model(tmp_path / where / "model")
    assert abs(ends[0] - ends[1]) < 1e-4


@on_a_device
def test_trainer_scales_the_loss_of_float16_and_resumes_with_its_scale(tokenizer, tmp_path):
    data = [{"input_ids": e["input_ids"], "labels": e["input_ids"]} for e in examples(tokenizer, 8)]

    def trained(where, folder, resume=None, **options):
        model = language_model(tokenizer).to(where)
        trainer = tenon.Trainer(model=model, args=arguments(tmp_path / folder, num_train_epochs=3, **options),
                                train_dataset=data, data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False))
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    plain = trained("cpu", "plain").state.log_history
    whole = trained("cuda", "whole", fp16=True, save_strategy="steps", save_steps=2)
    assert whole.scaler.is_enabled() and whole.scaler.get_scale() > 1
    losses = [[e["train_loss"] for e in log if "train_loss" in e] for log in (plain, whole.state.log_history)]
    assert 0 < abs(losses[0][0] - losses[1][0]) < 0.02
    again = trained("cuda", "whole", resume=str(tmp_path / "whole" / "checkpoint-2"), fp16=True)
    assert again.scaler.state_dict() == whole.scaler.state_dict()
    for a, b in zip(whole.model.parameters(), again.model.parameters()):
        assert a.tolist() == b.tolist()


@on_a_device
def test_dlpack_both_ways():
    t = tenon.tensor([[1.0, 2.0], [3.0, 4.0]]).to("cuda")
    assert t.__dlpack_device__() == (2, 0)
    other = tenon.from_dlpack(t)
    assert other.is_cuda and other.data_ptr() == t.data_ptr() and other.tolist() == t.tolist()
    del t
    assert other.cpu().numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]  # it keeps the memory
    with pytest.raises(BufferError, match="cuda"):
        other.__dlpack__(dl_device=(1, 0))


@on_a_device
@pytest.mark.parametrize("stream", [1, None, -1, 2, 0x7f0000001000])
def test_dlpack_as_others_ask_for_it(stream):
    """The calls that torch (none but a stream), CuPy and JAX make."""
    class Consumer:
        def __init__(self, given, **asked):
            self.given, self.asked = given, asked

        def __dlpack_device__(self):
            return self.given.__dlpack_device__()

        def __dlpack__(self, **_):
            return self.given.__dlpack__(stream=stream, **self.asked)

    t = tenon.arange(6).float().to("cuda").reshape(2, 3) * 2
    for asked in ({}, dict(max_version=(1, 0)), dict(max_version=(1, 1), dl_device=(2, 0), copy=None), dict(max_version=(1, 0), copy=False)):
        assert tenon.from_dlpack(Consumer(t, **asked)).data_ptr() == t.data_ptr()
    copied = tenon.from_dlpack(Consumer(t, max_version=(1, 0), copy=True))
    assert copied.data_ptr() != t.data_ptr() and copied.tolist() == t.tolist()


def real_device():
    return tenon.cuda.is_available() and "emulated" not in tenon.cuda.get_device_name(0).lower()


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_dlpack_with_other_libraries_on_a_gpu(name):
    other = pytest.importorskip(name)
    if not real_device() or not other.cuda.is_available():
        pytest.skip("no GPU")
    t = tenon.arange(6).float().to("cuda").reshape(2, 3)
    theirs = other.from_dlpack(t)
    theirs += 1
    assert (t + 0).tolist() == [[1, 2, 3], [4, 5, 6]]
    back = tenon.from_dlpack(theirs * 2)
    assert back.is_cuda and back.tolist() == [[2, 4, 6], [8, 10, 12]]


@on_a_device
def test_streams_and_events():
    cuda = tenon.cuda
    x = tenon.arange(6).float().to("cuda")
    default, other = cuda.current_stream(), cuda.Stream()
    assert default == cuda.default_stream() and default.cuda_stream == 0 != other.cuda_stream and str(other.device) == "cuda:0"
    begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    assert begin.query()
    other.wait_stream(default)
    with cuda.stream(other), cuda.stream(None):
        assert cuda.current_stream() == other
        begin.record()
        with cuda.stream(cuda.Stream()):
            assert cuda.current_stream() not in (default, other)
        y = x * 2 + 1
        y.record_stream(default)
        end.record()
    assert cuda.current_stream() == default
    default.wait_event(end)
    end.synchronize()
    assert end.query() and other.query() and begin.elapsed_time(end) >= 0
    assert (y + x).tolist() == [1, 4, 7, 10, 13, 16]
    with pytest.raises(ZeroDivisionError), cuda.stream(other):
        1 / 0
    assert cuda.current_stream() == default
    with cuda.stream(other):
        assert tenon.from_dlpack(y).data_ptr() == y.data_ptr()
    with pytest.raises(ValueError, match="enable_timing"):
        cuda.Event().elapsed_time(end)
    with pytest.raises(ValueError, match="recorded"):
        begin.elapsed_time(cuda.Event(enable_timing=True))
    with pytest.raises(RuntimeError, match="cuda:7"):
        cuda.Stream("cuda:7")
    tenon.ones(2).record_stream(other)
    cuda.set_device("cuda")
    with pytest.raises(RuntimeError, match='name another one as "cuda:1"'):
        cuda.set_device(1)


@on_a_device
def test_errors_name_both_sides_and_leave_the_model_usable(tokenizer):
    model = classifier(tokenizer).eval()
    inputs = tokenizer("the cat sat", return_tensors="pt")
    with pytest.raises(RuntimeError, match="(?s)lies on cpu.*cuda:0"):
        model(**inputs.to("cuda"))
    inputs = tokenizer("the cat sat", return_tensors="pt")
    want = model(**inputs).logits.numpy()
    tenon.cuda.empty_cache()
    tenon.cuda.set_memory_limit(tenon.cuda.memory_reserved() + 4096)
    try:
        with pytest.raises(MemoryError):
            model.to("cuda")
        assert model.device.type == "cpu" and np.array_equal(model(**inputs).logits.numpy(), want)
    finally:
        tenon.cuda.set_memory_limit(0)
    model.to("cuda")
    tenon.cuda.empty_cache()
    tenon.cuda.set_memory_limit(tenon.cuda.memory_reserved())
    try:
        with pytest.raises(MemoryError):
            model(**tokenizer(["the cat sat on the mat"] * 50, return_tensors="pt"))
    finally:
        tenon.cuda.set_memory_limit(0)
    assert np.abs(model(**inputs).logits.cpu().numpy() - want).max() <= 1e-5 * np.abs(want).max()
