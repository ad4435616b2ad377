"""The process around the package: threads, forks, imports, one model from several threads."""
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tenon

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def run(code, *arguments, **env):
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env={**ENV, **env})
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@linux
def test_import_starts_no_thread():
    assert run("import os, tenon; tenon.AutoModel, tenon.pipeline, tenon.ViTImageProcessor, tenon.Tensor; print(len(os.listdir('/proc/self/task')))") == "1"


def test_import_brings_nothing_that_is_not_needed(checkpoints):
    code = """
import sys, tenon
model = tenon.AutoModel.from_pretrained(sys.argv[1])
tokenizer = tenon.AutoTokenizer.from_pretrained(sys.argv[1])
model(**tokenizer("the cat", return_tensors="pt"))
print([m for m in ("numpy", "PIL", "jinja2", "tqdm", "torch", "transformers", "huggingface_hub", "json", "logging") if m in sys.modules])
"""
    assert run(code, checkpoints["bert"]) == "[]"


@linux
def test_fork_after_import(checkpoints):
    code = """
import os, sys, tenon
pid = os.fork()
tokenizer = tenon.AutoTokenizer.from_pretrained(sys.argv[1])
p = tenon.pipeline("text-classification", model=sys.argv[1])
result = p(["the cat", "a dog"] * 20)
if pid == 0:
    os._exit(0 if len(result) == 40 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(result))
"""
    assert run(code, checkpoints["classifier"]) == "0 40"


def test_one_model_from_four_threads(checkpoints, tokenizer):
    model = tenon.AutoModelForSequenceClassification.from_pretrained(checkpoints["classifier"])
    texts = ["the cat sat on the mat", "a dog", "profit fell sharply .", "hello world"]
    want = [model(**tokenizer(t, return_tensors="pt")).logits.numpy() for t in texts]
    wrong, start = [], threading.Barrier(4)

    def work(i):
        try:
            start.wait()
            for k in range(25):
                j = (i + k) % 4
                got = model(**tokenizer(texts[j], return_tensors="pt")).logits.numpy()
                if np.abs(got - want[j]).max() > 1e-5:
                    wrong.append((i, k))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_number_of_threads(checkpoints, tokenizer):
    before = tenon.get_num_threads()
    model = tenon.AutoModel.from_pretrained(checkpoints["bert"])
    inputs = tokenizer(["the cat sat on the mat", "a dog"], padding=True, return_tensors="pt")
    want = model(**inputs).last_hidden_state.numpy()
    try:
        for n in (1, 3):
            tenon.set_num_threads(n)
            assert tenon.get_num_threads() == n
            assert np.abs(model(**inputs).last_hidden_state.numpy() - want).max() < 1e-5
        with pytest.raises(ValueError, match="threads"):
            tenon.set_num_threads(-1)
    finally:
        tenon.set_num_threads(before)
    assert run("import tenon; print(tenon.get_num_threads())", OMP_NUM_THREADS="1") == "1"


@linux
def test_repeated_calls_do_not_grow(checkpoints, tokenizer):
    code = """
import resource, sys, tenon
model = tenon.AutoModel.from_pretrained(sys.argv[1])
tokenizer = tenon.AutoTokenizer.from_pretrained(sys.argv[1])
def work(n):
    for i in range(n):
        model(**tokenizer(["the cat sat"] * (1 + i % 7), return_tensors="pt"))
        tenon.tensor([[1.0] * 100] * 100).softmax(-1).numpy()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
work(200)
before = work(50)
print(work(1500) - before)
"""
    assert int(run(code, checkpoints["bert"])) < 4096  # KiB


def test_kernels_can_be_chosen(checkpoints):
    code = """
import json, sys, tenon
print(json.dumps([tenon.kernels_name(), tenon.AutoModel.from_pretrained(sys.argv[1])([[2, 5, 6, 3]]).pooler_output.tolist()]))
"""
    name, reference = json.loads(run(code, checkpoints["bert"], TENON_ISA="ref"))
    assert name == "ref"
    _, best = json.loads(run(code, checkpoints["bert"]))
    assert np.abs(np.array(best) - reference).max() < 1e-4
