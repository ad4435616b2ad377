#!/usr/bin/env bash
# The kernels of 64-bit Arm on a machine that is none: cross-compiled, and every kernel compared with ref under emulation. Some minutes.
#
#     apt-get install g++-aarch64-linux-gnu qemu-user
#     tests/neon.sh [doctest's options, such as -tc="*attention*"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "Error: $tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 1; }
done
out=build/neon
mkdir -p "$out/include"
# Headers that are the same on every machine, without the rest of /usr/include.
ln -sfn /usr/include/doctest "$out/include/doctest"
ln -sfn /usr/include/eigen3 "$out/eigen3"
sources=(src/cpu/*.cpp src/cpu/neon/*.cpp src/core/*.cpp tests/ops/test_agree_*.cpp tests/ops/test_linear_kernels.cpp tests/ops/test_quantized_matrix.cpp tests/main.cpp)
for source in "${sources[@]}"; do
  case $source in */onednn.cpp | */onednn_plan.cpp | */json.cpp) continue ;; esac  # other libraries' machine code is not at hand
  printf '%s\n' "$source"
done | xargs -P "$(nproc)" -I SOURCE bash -c '
  source=SOURCE object="'"$out"'/${source//\//_}.o" level=-O1
  [[ $source == */neon/* ]] && level=-O3
  [ "$object" -nt "$source" ] || aarch64-linux-gnu-g++ -std=gnu++20 $level -fopenmp -Wall -Wextra -Werror -DTENON_HAS_NEON -DEIGEN_DONT_PARALLELIZE \
    "-DTENON_VERSION=\"0\"" "-DTENON_SHARED_DIR=\"\"" "-DTENON_TEST_DIR=\"\"" -Iinclude -Isrc -Itests -I"'"$out"'/include" -isystem "'"$out"'/eigen3" -c "$source" -o "$object"'
aarch64-linux-gnu-g++ -fopenmp -static -o "$out/agree" "$out"/*.o -ldl 2>&1 | { grep -v 'dlopen\|in function' || true; }
qemu-aarch64 "$out/agree" "$@"
