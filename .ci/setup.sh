# Sourced by examples/run.sh, tests/run.sh and .ci/run: brings what a fresh Debian or Ubuntu machine lacks, and builds.
# Every step looks first whether its work is done, so that a second run takes seconds.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
jobs=$(nproc)
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 CMAKE_GENERATOR=Ninja

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf '\nError: %s\n' "$*" >&2; exit 1; }

packages=(g++ cmake ninja-build pkg-config ccache libeigen3-dev libsimdjson-dev libpcre2-dev libutf8proc-dev libjpeg-dev libpng-dev doctest-dev)

# Installs missing Debian packages if we may, or names them.
setup_system() {
  local missing=() p
  command -v dpkg >/dev/null || { say "Not a Debian system: expecting ${packages[*]} to be installed"; return; }
  for p in "${packages[@]}" "$@"; do
    dpkg -s "$p" 2>/dev/null | grep -q '^Status: install ok' || missing+=("$p")
  done
  command -v python3 >/dev/null || missing+=(python3)
  if ! python3 -c 'import ensurepip, venv, sysconfig, os; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then
    missing+=(python3-venv python3-dev)
  fi
  [ ${#missing[@]} -eq 0 ] && return
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || die "please install: apt-get install ${missing[*]}"
    as=(sudo -n)
  fi
  say "Installing Debian packages: ${missing[*]}"
  "${as[@]}" apt-get update -qq
  "${as[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# setup_python PACKAGE...: the virtual environment .venv with what builds and runs the module, and the packages named.
setup_python() {
  local wanted=("scikit-build-core>=0.10" "pybind11>=2.13" "numpy>=1.24" "$@")
  if [ "$(uname -m)" = x86_64 ]; then wanted+=("onednn-devel-cpu-gomp==2023.2.0" "onednn-cpu-gomp==2023.2.0"); fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or later is needed, this is $(python3 --version)"
  [ -x "$venv/bin/python" ] || { say "Making the virtual environment .venv"; python3 -m venv "$venv"; }
  local stamp="$venv/.installed" p need=()
  touch "$stamp"
  for p in "${wanted[@]}"; do grep -qxF -- "$p" "$stamp" || need+=("$p"); done
  [ ${#need[@]} -eq 0 ] && return
  say "Installing Python packages: ${need[*]}"
  "$venv/bin/python" -m pip install -q "${need[@]}"
  printf '%s\n' "${need[@]}" >>"$stamp"
}

# build NAME [CMake option...]: configures and builds the folder build/NAME, logged to build/NAME.log; TARGETS may name what to build.
build() {
  local name=$1
  shift
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  say "Building build/$name"
  cmake -S "$root" -B "$root/build/$name" -DTENON_PYTHON="$venv/bin/python" "${launcher[@]}" "$@" >"$root/build/$name.configure.log" 2>&1 ||
    { cat "$root/build/$name.configure.log"; die "cmake could not configure build/$name"; }
  grep -E '^-- oneDNN' "$root/build/$name.configure.log" || true
  cmake --build "$root/build/$name" -j "$jobs" ${TARGETS:+--target $TARGETS} 2>&1 | tee "$root/build/$name.log"
}

# The content of all that goes into the module, as one hash.
module_hash() {
  (cd "$root" && find CMakeLists.txt pyproject.toml README.md cmake include src python -type f ! -name '*.pyc' -print0 | sort -z |
    xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

# Installs the module `tenon` into .venv as `pip install .` does, unless this very content is installed already.
install_module() {
  local stamp="$venv/.module" hash
  hash=$(module_hash)
  [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && return
  say "Installing the Python module: pip install . (some minutes the first time)"
  local launcher=""
  # c++, as CMake itself finds it: under the name g++ the cache knows nothing of what build/release compiled.
  command -v ccache >/dev/null && launcher="-DCMAKE_CXX_COMPILER=c++ -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
  CMAKE_ARGS="-DTENON_PYTHON=$venv/bin/python $launcher" "$venv/bin/python" -m pip install -q --no-build-isolation --no-deps --force-reinstall "$root"
  echo "$hash" >"$stamp"
}

mkdir -p "$root/build"
