#!/usr/bin/env python3
"""Checks the house: includes obey the layers, foreign headers stay behind their doors, files stay small, the library stays quiet.

    python .ci/layers.py [BUILD]      BUILD: a build folder whose instruction-set objects are searched for weak symbols
"""
import pathlib, re, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = {"core": 0, "io": 1, "text": 1, "vision": 1, "quant": 1, "ops": 2, "nn": 3, "models": 4, "train": 4, "compress": 4, "dist": 4, "tasks": 5}
# Beside the layers below it, a folder may include these of its own height.
SAME_HEIGHT = {("text", "io"), ("vision", "io")}
# A third-party header and the only place where it may be included.
DOORS = [
    (r"dnnl(\.hpp|\.h)?\b", r"src/cpu/onednn"),
    (r"pybind11/", r"python/src/"),
    (r"cuda(_|\.h$|/)|cublas|cudnn|nccl|driver_types|mma\.h|cub/|thrust/", r"cuda/"),
    (r"simdjson", r"src/(core|io|text)/"),
    (r"pcre2|utf8proc", r"src/text/"),
    (r"jpeglib|png\.h", r"src/vision/"),
    (r"Eigen/", r"src/"),
    (r"doctest/", r"tests/"),
]
CODE = {".h", ".cpp", ".cu", ".cuh", ".py", ".cmake", ".sh"}
MAX_LINES = 800

problems = []


def problem(path, line, text):
    problems.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def tracked(*folders):
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", *folders], capture_output=True, text=True, check=True)
    return [ROOT / f for f in out.stdout.splitlines() if (ROOT / f).is_file()]


def without_comments(text):
    blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def check_includes(path, text):
    name = str(path.relative_to(ROOT))
    own = re.match(r"include/tenon/(\w+)/", name) or re.match(r"src/(\w+)/", name)
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if not found:
            continue
        header = found.group(1)
        for pattern, place in DOORS:
            if re.match(pattern, header) and not re.match(place, name):
                problem(path, number, f"{header} may only be included below {place}")
        if header in ("iostream", "regex") and name.startswith("include/"):
            problem(path, number, f"<{header}> is banned from public headers")
        target = re.match(r"tenon/(\w+)/", header)
        if not own or not target or own.group(1) not in LAYERS:
            continue
        a, b = own.group(1), target.group(1)
        if b not in LAYERS:
            problem(path, number, f"no layer {b}")
        elif a != b and (a, b) not in SAME_HEIGHT and LAYERS[b] >= LAYERS[a]:
            problem(path, number, f"{a} (layer {LAYERS[a]}) may not include {b} (layer {LAYERS[b]})")


def check_text(path, raw):
    name = str(path.relative_to(ROOT))
    code = without_comments(raw)
    for number, line in enumerate(code.splitlines(), 1):
        if name.startswith("include/") and re.search(r"__AVX|__SSE|__ARM_NEON|TENON_(WITH|HAS)_", line):
            problem(path, number, "public headers depend on no instruction set and no build flag")
        quiet = name.startswith(("include/", "src/", "cuda/")) and not name.startswith("src/cli/")
        if quiet and re.search(r"\bstd::(cout|cerr|clog)\b|(?<![\w])(printf|fprintf|puts|abort|exit|_exit|terminate)\s*\(", line):
            problem(path, number, "the library never prints, aborts or exits")
    lines = raw.splitlines()
    comment = "#" if path.suffix in {".py", ".cmake", ".sh"} or path.name == "CMakeLists.txt" else "//"
    first = next((l for l in lines if not l.startswith("#!")), "")
    if path.suffix != ".py" and not first.startswith(comment):
        problem(path, 1, "the first line says what the file is for")
    if path.suffix == ".py" and not first.lstrip("r").startswith(('"""', "#")):
        problem(path, 1, "the first line says what the file is for")
    if len(lines) > MAX_LINES:
        problem(path, 1, f"{len(lines)} lines; hand-written files have at most {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"} and not line.isascii():
            problem(path, number, "sources are ASCII")
        if re.search(r"(?<![\w.])/(root|home|Users)/\w", line):
            problem(path, number, "a path of somebody's machine")
    return len(lines)


def check_weak_symbols(build):
    """Inline functions compiled with instruction-set flags must not be what the linker keeps for everyone."""
    objects = [o for o in pathlib.Path(build).rglob("*.o") if re.search(r"src/cpu/(avx|neon)\w*/", str(o))]
    for o in objects:
        out = subprocess.run(["nm", "-C", str(o)], capture_output=True, text=True, check=True).stdout
        weak = [l.split(None, 2)[2] for l in out.splitlines() if re.match(r"[0-9a-f]+ [WVu] ", l) and "DW.ref" not in l]
        if weak:
            problems.append(f"{o}: weak symbols in an instruction-set object: {', '.join(weak[:3])}")
    return len(objects)


def main():
    sizes = []
    for path in tracked("include", "src", "cuda", "python", "tests", "examples", "bench", "cmake", ".ci"):
        if path.suffix not in CODE and path.name != "CMakeLists.txt":
            continue
        raw = path.read_text(encoding="utf8")
        sizes.append(check_text(path, raw))
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"}:
            check_includes(path, raw)
    print(f"{len(sizes)} files, median {statistics.median(sizes):.0f} lines, largest {max(sizes)}")
    if len(sys.argv) > 1:
        print(f"{check_weak_symbols(sys.argv[1])} instruction-set objects searched for weak symbols")
    for p in problems:
        print(p)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
