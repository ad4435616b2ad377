"""Texts of eight domains with their labels, for the experiments beside this file. No download: the repository, and Python's own library."""
from __future__ import annotations

import csv
import pathlib
import random
import sysconfig

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
NAMES = ("code", "everyday", "chinese news", "finance", "problems", "mathematics", "drama", "chat")


def python_sources(most_bytes: int, seed: int = 0, packages: "tuple[str, ...]" = ()) -> list[str]:
    """Files of Python's own library in a shuffled order, up to `most_bytes` of them; tests and generated tables are left out."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in folder.rglob("*.py") if not {"test", "tests", "idlelib", "site-packages", "dist-packages", "lib2to3", "encodings",
                                                          "pydoc_data", "ensurepip"} & set(p.relative_to(folder).parts))
    random.Random(seed).shuffle(files)
    texts, size = [], 0
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")
        if size + len(text) > most_bytes:
            continue
        texts.append(text)
        size += len(text)
    return texts


def _mathematics(count: int, seed: int = 0) -> list[str]:
    """Sums, equations and sequences, made up; every line is true."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        a, b, c, kind = draw.randint(2, 99), draw.randint(2, 99), draw.randint(2, 12), draw.randrange(5)
        if kind == 0:
            lines.append(f"{a} + {b} = {a + b}, {a} - {b} = {a - b}, {a} * {b} = {a * b}.")
        elif kind == 1:
            lines.append(f"Solve {c}x + {a} = {c * b + a}: {c}x = {c * b}, x = {b}.")
        elif kind == 2:
            lines.append(f"({a} + {c})^2 = {a}^2 + 2*{a}*{c} + {c}^2 = {(a + c) ** 2}.")
        elif kind == 3:
            lines.append("Let a_n = " + f"{a} + {c}n. Then " + ", ".join(f"a_{n} = {a + c * n}" for n in range(4)) + ".")
        else:
            lines.append(f"The derivative of {c}x^{b} + {a}x is {c * b}x^{b - 1} + {a}.")
    return lines


def _lines(name: str) -> list[str]:
    return [line for line in (DATA / "domains" / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def load_domains(most_bytes: int = 200_000, seed: int = 0) -> dict[str, list[str]]:
    """Texts of each domain, up to about `most_bytes` a domain, shuffled."""
    with open(DATA / "financial_news" / "train.csv", encoding="utf-8", newline="") as file:
        finance = [row["text"].split(" https://")[0] for row in csv.DictReader(file)]
    problems = [line.split("\t", 1)[1] for line in (DATA / "texts.tsv").read_text(encoding="utf-8").splitlines() if line.startswith("programming\t")]
    blocks = {name: [b for b in (DATA / "domains" / f"{name}.txt").read_text(encoding="utf-8").split("\n\n") if b.strip()] for name in ("drama", "chat")}
    texts = {"code": python_sources(most_bytes, seed), "everyday": _lines("everyday.txt"), "chinese news": _lines("chinese_news.txt"),
             "finance": finance, "problems": problems, "mathematics": _mathematics(4000, seed), "drama": blocks["drama"], "chat": blocks["chat"]}
    chosen: dict[str, list[str]] = {}
    for name in NAMES:
        items = list(texts[name])
        random.Random(f"{seed}-{name}").shuffle(items)
        size, taken = 0, []
        for text in items:
            if size >= most_bytes:
                break
            taken.append(text)
            size += len(text.encode())
        chosen[name] = taken
    return chosen


def sequences(tokenizer, texts: "list[str]", length: int) -> list[list[int]]:
    """Token ids of texts one after another, cut into sequences of `length`; a remainder is dropped."""
    ids: list[int] = []
    for text in texts:
        ids.extend(tokenizer(text + "\n")["input_ids"])
    return [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)]


def split(texts: "list[str]", held_out: float = 0.2) -> "tuple[list[str], list[str]]":
    """Training and held-out texts: no text is in both."""
    total, size, training = sum(len(t) for t in texts), 0, 0
    while training < len(texts) - 1 and size < (1 - held_out) * total:
        size += len(texts[training])
        training += 1
    return texts[:training], texts[training:]


def labelled_rows(tokenizer, domains: "dict[str, list[str]]", length: int, most: "int | None" = None, seed: int = 0) -> tuple:
    """(training rows, held-out rows) with input_ids, labels and domain (a number); the same number of training rows of each domain: the
    sequences of small domains come several times."""
    training, held = [], []
    parts = []
    for number, (name, texts) in enumerate(domains.items()):
        first, second = split(texts)
        parts.append((number, sequences(tokenizer, first, length), sequences(tokenizer, second, length)))
    count = most or max(len(own) for _, own, _ in parts)
    for number, own, other in parts:
        training.extend({"input_ids": own[i % len(own)], "labels": own[i % len(own)], "domain": number} for i in range(count))
        held.extend({"input_ids": ids, "labels": ids, "domain": number} for ids in other)
    random.Random(seed).shuffle(training)
    return training, held
