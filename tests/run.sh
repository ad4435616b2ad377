#!/usr/bin/env bash
# Passes the tests on a fresh Debian or Ubuntu machine: sets up, builds, runs the C++ tests on every instruction set of this
# machine, the consumer project and the Python tests. Run it again after a change: it takes up where the change is.
set -euo pipefail
source "$(dirname "$0")/../.ci/setup.sh"

failed=() passed=0
step() {  # step NAME COMMAND...
  local name=$1
  shift
  say "$name"
  if "$@"; then passed=$((passed + 1)); else failed+=("$name"); fi
}

setup_system
setup_python pytest pillow fastapi uvicorn httpx pydantic "jinja2>=3.1.6" regex tokenizers datasets tqdm
build release -DCMAKE_BUILD_TYPE=Release

step "C++ tests" ctest --test-dir "$root/build/release" --output-on-failure -j 1
step "A separate project that uses find_package(tenon)" bash "$root/tests/consumer/run.sh" "$root/build/release" "$root/build/consumer"
install_module
step "Python tests" env -C "$root/tests/python" "$venv/bin/python" -m pytest -q -c "$root/pyproject.toml" --rootdir "$root/tests/python" "$root/tests/python"

say "Result"
[ ${#failed[@]} -eq 0 ] || printf 'failed: %s\n' "${failed[@]}"
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
