"""The listings of examples/article: run as they are, the service started by uvicorn and called over loopback."""
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from conftest import ROOT

ARTICLE = ROOT / "examples" / "article"
# few functions to learn code completion from: the listing is tried, not the model
ENV = {**os.environ, "TENON_FUNCTIONS": "48", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with examples/out as make_checkpoints.py fills it."""
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("article")
    subprocess.run([sys.executable, ARTICLE / "make_checkpoints.py"], cwd=folder, env=ENV, check=True, timeout=120)
    return folder


def listing(name, folder, quiet=True):
    result = subprocess.run([sys.executable, ARTICLE / name], cwd=folder, env=ENV, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert not (quiet and result.stderr)
    return result.stdout


def test_checkpoints_are_the_same_each_time(workplace, tmp_path):
    subprocess.run([sys.executable, ARTICLE / "make_checkpoints.py", str(tmp_path)], env=ENV, check=True, timeout=120)
    for name in ("finance-events/model.safetensors", "finance-events/tokenizer.json", "vit-tiny/model.safetensors", "example.png"):
        assert (tmp_path / name).read_bytes() == (workplace / "examples" / "out" / name).read_bytes()


def test_finance_events(workplace):
    assert listing("finance_events.py", workplace).startswith("Predicted event: ")


def test_vit_features(workplace):
    assert listing("vit_features.py", workplace).strip() == "(1, 197, 64)"


def test_distillation(workplace):
    losses = [float(line.rpartition(" ")[2]) for line in listing("distillation.py", workplace).splitlines()]
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_code_completion(workplace):
    pytest.importorskip("datasets")
    out = listing("code_completion.py", workplace, quiet=False)  # progress bars go to the error stream
    assert "train_loss" in out and "def __init__(self" in out


def test_only_imports_and_paths_differ_from_transformers():
    for name in ("finance_events.py", "vit_features.py", "service.py", "distillation.py", "code_completion.py"):
        source = (ARTICLE / name).read_text()
        lines = [line for line in source.splitlines() if "tenon" in line]
        assert lines and all(line.startswith(("from tenon import", "import tenon as torch", "import tenon.nn")) for line in lines)


def test_service(workplace):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ARTICLE), "service:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=workplace, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def post(body):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            return json.load(response)

    try:
        for _ in range(150):
            if server.poll() is not None:
                pytest.fail(server.stdout.read())
            try:
                answer = post({"text": "The board raised the quarterly dividend."})
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        else:
            pytest.fail("the service did not start")
        assert set(answer) == {"label", "score"} and 0 < answer["score"] <= 1
        assert post({"text": "The board raised the quarterly dividend."}) == answer
        with pytest.raises(urllib.error.HTTPError) as wrong:
            post({"words": 3})
        assert wrong.value.code == 422
        assert post({"text": ""})["label"] in {"acquisition", "bankruptcy", "dividend", "earnings", "lawsuit", "listing"}
    finally:
        server.terminate()
        server.wait(10)
