#!/usr/bin/env python3
"""Sparse training at an eighth of the weights against dense training: accuracy kept, size and speed.

    python examples/experiments/dynamic_sparse_training.py            all of it, under half an hour on two cores
    python examples/experiments/dynamic_sparse_training.py --small    seconds: a check that it runs

A BERT classifier learns the mood of posts about companies from nothing (examples/data/financial_news: bearish, bullish, neutral), once dense
and once each with an eighth of its weights: connections that stay where they were drawn (static), move at random (SET), move to where
the gradient is largest (RigL), or are pruned from a dense model while it learns (magnitude); and a small dense model of as many
weights. All matrices are sparse, word embeddings too; biases, norms and the small head stay dense. The sparse models are written without
their zeros, opened again and timed as they come out of from_pretrained. Writes a table, the numbers and a plot to --out.
"""
import argparse
import csv
import json
import pathlib
import platform
import statistics
import time

import numpy as np

import tenon
from tenon import sparsity

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "financial_news"
METHODS = ("dense", "static", "set", "rigl", "magnitude", "small dense")
LAYERS = ["bert.encoder.layer.*.weight", "bert.embeddings.word_embeddings.weight"]


def read(path, step):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["text"], int(row["label"])) for row in csv.DictReader(file)][::step]


def encode(tokenizer, rows):
    batch = tokenizer([text for text, _ in rows], truncation=True, max_length=64)
    return [{"input_ids": ids, "attention_mask": mask, "label": label}
            for ids, mask, (_, label) in zip(batch["input_ids"], batch["attention_mask"], rows)]


def scores(predicted, labels):
    """Accuracy, and F1 as the mean over the classes."""
    f1 = []
    for c in range(3):
        right = int(((predicted == c) & (labels == c)).sum())
        f1.append(2 * right / max(1, int((predicted == c).sum()) + int((labels == c).sum())))
    return float((predicted == labels).mean()), float(np.mean(f1))


def new_model(name, tokenizer, args, seed):
    tenon.manual_seed(seed)
    width = args.small_width if name == "small dense" else args.width
    return tenon.BertForSequenceClassification(tenon.BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=args.layers, num_attention_heads=4, intermediate_size=4 * width,
        max_position_embeddings=64, num_labels=3))


def train(name, model, rows, tokenizer, args, seed):
    """Trains one model in place; returns seconds and, for sparse ones, what moved."""
    steps = args.epochs * -(-len(rows) // 32)
    callback = None
    if name not in ("dense", "small dense"):
        callback = sparsity.SparseTrainingCallback(name, args.density, "erk", layers=LAYERS, every=args.every, end=3 * steps // 4, seed=seed)
    trainer = tenon.Trainer(
        model, tenon.TrainingArguments(str(args.out / "runs"), num_train_epochs=args.epochs, per_device_train_batch_size=32, learning_rate=args.lr,
                                       warmup_steps=steps // 10, weight_decay=0.01, seed=seed, save_strategy="no", logging_steps=50,
                                       disable_tqdm=True, report_to="none", train_sampling_strategy="group_by_length"),
        train_dataset=rows, processing_class=tokenizer, callbacks=[callback] if callback else [])
    for printer in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback"]:
        trainer.remove_callback(printer)
    clock = time.process_time if args.cpu_time else time.perf_counter
    start = clock()
    trainer.train()
    seconds = clock() - start
    return seconds, (callback.sparse.dropped if callback else 0)


def nonzeros(model):
    return sum(int((p.detach().numpy() != 0).sum()) for p in model.parameters())


def batches(tokenizer, rows, size):
    """Posts of like length together, padded; in the order of `rows` sorted by length."""
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    parts = [ordered[i:i + size] for i in range(0, len(ordered), size)]
    inputs = [tokenizer.pad([{k: row[k] for k in ("input_ids", "attention_mask")} for row in part], return_tensors="np") for part in parts]
    return inputs, np.array([row["label"] for row in ordered])


def predict(model, inputs):
    with tenon.no_grad():
        return np.concatenate([model(**batch).logits.numpy().argmax(-1) for batch in inputs])


def time_all(models, inputs, rounds, clock):
    """The median seconds of a pass over the inputs of each model; models take turns, so that what else the machine does meets all."""
    seconds = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = clock()
            predict(model, inputs)
            seconds[name].append(clock() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def table(results, args):
    dense = results["dense"]
    lines = ["| model | weights | file | accuracy | of dense | macro F1 | posts/s, 32 at once | times dense | ms, one post | times dense | training |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for name in METHODS:
        r = results[name]
        spread = f" ± {statistics.stdev(r['accuracy']) * 100:.1f}" if len(r["accuracy"]) > 1 else ""
        accuracy, f1 = statistics.mean(r["accuracy"]), statistics.mean(r["f1"])
        lines.append(f"| {name} | {r['weights']:,} | {r['bytes'] / 1e6:.2f} MB | {accuracy * 100:.1f} %{spread} | "
                     f"{accuracy / statistics.mean(dense['accuracy']) * 100:.1f} % | {f1:.3f} | {r['rows'] / r['many']:,.0f} | {dense['many'] / r['many']:.2f} | "
                     f"{r['one'] / r['one_rows'] * 1e3:.2f} | {dense['one'] / r['one']:.2f} | {statistics.mean(r['seconds']):.0f} s |")
    return "\n".join(lines)


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    dense = statistics.mean(results["dense"]["accuracy"])
    for i, name in enumerate(METHODS):
        r = results[name]
        accuracy = statistics.mean(r["accuracy"])
        left.bar(i, 100 * accuracy, color=f"C{i}")
        left.plot([i] * len(r["accuracy"]), [100 * a for a in r["accuracy"]], "k.", markersize=4)
        right.plot(results["dense"]["many"] / r["many"], 100 * accuracy / dense, "o", color=f"C{i}", markersize=9)
        right.annotate(f" {name}", (results["dense"]["many"] / r["many"], 100 * accuracy / dense), fontsize=8)
    left.set_xticks(range(len(METHODS)), METHODS, rotation=20)
    left.set_ylabel("accuracy, %")
    left.set_ylim(max(0, 100 * min(min(r["accuracy"]) for r in results.values()) - 5))
    right.axhline(90, color="grey", linewidth=0.8, linestyle="--")
    right.axvline(1.5, color="grey", linewidth=0.8, linestyle="--")
    right.set_xlabel("speed, times dense (32 posts at once)")
    right.set_ylabel("accuracy, % of dense")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, default=0.125)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--small-width", type=int, default=60, help="of the small dense model")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=40, help="steps between moves of connections")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="of the timing")
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "out" / "dynamic_sparse_training")
    parser.add_argument("--train", nargs="+", choices=METHODS, help="train these alone, for a later --measure")
    parser.add_argument("--measure", action="store_true", help="train nothing: time the models of an earlier run in --out")
    parser.add_argument("--cpu-time", action="store_true", help="time by the processor's time of this process: for --threads 1 on a busy machine")
    parser.add_argument("--small", action="store_true", help="every 60th post, a narrow model: a quick check")
    args = parser.parse_args()
    if args.small:
        args.width, args.small_width, args.layers, args.vocabulary, args.epochs, args.every, args.rounds = 64, 24, 1, 500, 1, 1, 1
    step = 60 if args.small else 1
    tenon.set_num_threads(args.threads)
    train_rows, held_out = read(DATA / "train.csv", step), read(DATA / "validation.csv", step)
    tokenizer = tenon.train_tokenizer([text for text, _ in train_rows], "wordpiece", vocab_size=args.vocabulary, lowercase=True, progress=False)
    rows, validation = encode(tokenizer, train_rows), encode(tokenizer, held_out)
    inputs, labels = batches(tokenizer, validation, 32)
    results, models = {}, {}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.train or METHODS:
        folder = args.out / name.replace(" ", "_")
        notes = args.out / (folder.name + ".json")
        r = {"accuracy": [], "f1": [], "seconds": []}
        for seed in range(0 if args.measure else args.seeds):
            model = new_model(name, tokenizer, args, seed)
            seconds, moved = train(name, model, rows, tokenizer, args, seed)
            sparsity.save_sparse(model, folder, "dense" if "dense" in name else "bitmask")
            model = tenon.AutoModelForSequenceClassification.from_pretrained(folder)
            accuracy, f1 = scores(predict(model, inputs), labels)
            r["accuracy"].append(accuracy), r["f1"].append(f1), r["seconds"].append(seconds)
            print(f"{name:12} seed {seed}: accuracy {accuracy:.1%}, macro F1 {f1:.3f}, {seconds:.0f} s, {moved:,} connections moved or pruned", flush=True)
            notes.write_text(json.dumps(r))
        results[name] = json.loads(notes.read_text())
        model = models[name] = tenon.AutoModelForSequenceClassification.from_pretrained(folder)
        results[name].update(weights=nonzeros(model), bytes=(folder / "model.safetensors").stat().st_size)
    if args.train:
        return
    for name in METHODS:  # reading their weights has unpacked them
        models[name] = tenon.AutoModelForSequenceClassification.from_pretrained(args.out / name.replace(" ", "_"))
    one_inputs, _ = batches(tokenizer, validation[::8], 1)
    predict(models["dense"], inputs[:4])
    clock = time.process_time if args.cpu_time else time.perf_counter
    many, one = time_all(models, inputs, args.rounds, clock), time_all(models, one_inputs, args.rounds, clock)
    for name in METHODS:
        results[name].update(many=many[name], one=one[name], rows=len(validation), one_rows=len(one_inputs))
    text = table(results, args)
    print("\n" + text)
    (args.out / "table.md").write_text(text + "\n")
    settings = {k: v for k, v in vars(args).items() if k != "out"}
    (args.out / "results.json").write_text(json.dumps({"machine": platform.processor() or platform.machine(), "settings": settings,
                                                       "results": results}, indent=1))
    plot(results, args.out / "plot.png")
    best = max(METHODS[1:5], key=lambda n: statistics.mean(results[n]["accuracy"]))
    kept = statistics.mean(results[best]["accuracy"]) / statistics.mean(results["dense"]["accuracy"])
    print(f"\nThe best sparse model, {best}, keeps {kept:.1%} of the dense accuracy with {results[best]['weights'] / results['dense']['weights']:.1%} of the "
          f"weights, {many['dense'] / many[best]:.2f} times as fast. Table, numbers and plot: {args.out}")


if __name__ == "__main__":
    main()
