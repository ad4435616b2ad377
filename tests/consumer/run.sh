#!/usr/bin/env bash
# run.sh BUILD WORK: installs the build folder BUILD below WORK, then builds and runs the consumer project against it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1 work=$2
cmake --install "$build" --prefix "$work/prefix" --component devel >/dev/null
cmake -S "$here" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build"
"$work/build/consumer"
