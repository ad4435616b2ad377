"""The experiment with dynamic sparse training runs, small."""
import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT


def test_small(tmp_path):
    pytest.importorskip("matplotlib")
    script = ROOT / "examples" / "experiments" / "dynamic_sparse_training.py"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    result = subprocess.run([sys.executable, script, "--small", "--out", tmp_path], env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert list(results) == ["dense", "static", "set", "rigl", "magnitude", "small dense"]
    for name in ("static", "set", "rigl", "magnitude"):
        assert 0.1 < results[name]["weights"] / results["dense"]["weights"] < 0.25  # embeddings of positions, norms and the head stay whole
        assert results[name]["bytes"] < 0.35 * results["dense"]["bytes"]
    assert all(0 <= a <= 1 for r in results.values() for a in r["accuracy"])
    assert (tmp_path / "plot.png").stat().st_size > 1000 and "| rigl |" in (tmp_path / "table.md").read_text()
