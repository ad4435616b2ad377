"""The experiments with experts run in their small setting, and write their tables; the scores that they report are what they say."""
import importlib.util
import json
import os
import subprocess
import sys

import pytest

import tenon
from conftest import ROOT

FOLDER = ROOT / "examples" / "experiments"


def module(name):
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("name, options, rows", [("moe_against_dense", ("--shares", "0.6", "1.0"), 4), ("progressive_experts", (), 5), ("router_accuracy", ("--variants", "2", "6"), 2)])
def test_small_settings(name, options, rows, tmp_path):
    package = os.path.dirname(os.path.dirname(tenon.__file__))
    done = subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), "--small", "--out", str(tmp_path), *options], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": package}, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["rows"]) == rows and results["setting"]["small"] and results["machine"]
    assert (tmp_path / "results.md").read_text().count("\n") == rows + 2


def test_bleu():
    bleu = module("moe_against_dense").bleu
    assert bleu([[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5]]) == pytest.approx(100)
    assert bleu([[7, 8]], [[1, 2]]) == 0
    # 4 of 5 unigrams; (3 + 1)/(4 + 1), (2 + 1)/(3 + 1), (1 + 1)/(2 + 1) of the longer ones; as long as the reference.
    assert bleu([[1, 2, 3, 4, 9]], [[1, 2, 3, 4, 5]]) == pytest.approx(100 * (0.8 * 0.8 * 0.75 * 2 / 3) ** 0.25)
    assert bleu([[1, 2, 3, 4]], [[1, 2, 3, 4, 5]]) == pytest.approx(100 * 2.718281828 ** (1 - 5 / 4))


def test_equal_loss_lies_between_points():
    reached = module("common").reached
    points = [{"loss": 4.0, "flops": 10.0}, {"loss": 3.0, "flops": 20.0}]
    assert reached(points, 3.5, "flops") == 15 and reached(points, 2.0, "flops") is None and reached(points, 5.0, "flops") == 10


def test_the_share_of_equal_loss_lies_between_runs():
    equal = module("moe_against_dense").equal
    runs = [{"TFLOP": 0.8, "seconds": 30.0, "loss": 2.0}, {"TFLOP": 0.2, "seconds": 10.0, "loss": 3.0}]
    found = equal(runs, 2.5)
    assert found["TFLOP"] == pytest.approx(0.4) and found["seconds"] == pytest.approx(300**0.5)
    assert equal(runs, 2.0)["TFLOP"] == pytest.approx(0.8) and equal(runs, 3.5) is None and equal(runs, 1.5) is None


def test_domains_do_not_share_texts():
    domains = module("domains")
    texts = domains.load_domains(5_000)
    assert tuple(texts) == domains.NAMES and all(texts.values())
    training, held = domains.split(texts["everyday"])
    assert training and held and not set(training) & set(held)
