"""A short run of fuzz_tokenizers.py: the same random strings every time, against Hugging Face `tokenizers` where it is installed."""
import json

import pytest

pytest.importorskip("tokenizers")
import fuzz_tokenizers as fuzz  # noqa: E402


@pytest.mark.parametrize("kind", list(fuzz.KINDS))
def test_kind(kind, capsys):
    found = fuzz.compare(fuzz.Comparison(json.dumps(fuzz.KINDS[kind]()), kind), 1000, seed=7)
    assert found == 0, capsys.readouterr().out


def test_pipelines(capsys):
    found = fuzz.fuzz_pipelines(2000, seed=7, per_pipeline=40)
    assert found == 0, capsys.readouterr().out
