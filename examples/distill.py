#!/usr/bin/env python3
"""Distils a fine-tuned classifier into a DistilBERT of less than half its weights, and measures what is kept.

    python examples/finance_news.py      the teacher: MiniLM fine-tuned on financial news
    python examples/distill.py           the student: three of its six layers, the word pieces of the domain

The student's layers, positions and word vectors start as the teacher's. It learns from the teacher's softened answers
(T^2 * KL, "batchmean") and from the labels. Prints accuracy, weights and speed of both.
"""
import argparse
import pathlib
import statistics
import sys
import time

import numpy as np

from finance_news import HERE, read
from tenon import (AutoModelForSequenceClassification, AutoTokenizer, DistillationTrainer, TrainingArguments, no_grad, set_num_threads, set_seed,
                   student_from_teacher, trim_vocabulary)


def encode(tokenizer, rows, prefix=""):
    batch = tokenizer([row["text"] for row in rows], truncation=True, max_length=64)
    return [{prefix + "input_ids": ids, prefix + "attention_mask": mask} for ids, mask in zip(batch["input_ids"], batch["attention_mask"])]


def accuracy(predictions):
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


def judge(model, tokenizer, rows, batch_size=32, rounds=3):
    """Accuracy on the rows, and rows per second (median of the rounds), texts of like length together."""
    rows = sorted(rows, key=lambda row: len(row["text"]))
    seconds, right = [], 0
    model.eval()
    for _ in range(rounds):
        start, right = time.perf_counter(), 0
        for i in range(0, len(rows), batch_size):
            part = rows[i:i + batch_size]
            batch = tokenizer([row["text"] for row in part], padding=True, truncation=True, max_length=64, return_tensors="np")
            with no_grad():
                chosen = model(**batch).logits.numpy().argmax(-1)
            right += int((chosen == np.array([row["label"] for row in part])).sum())
        seconds.append(time.perf_counter() - start)
    return right / len(rows), len(rows) / statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=pathlib.Path, default=HERE / "out" / "finance-news", help="a fine-tuned BERT classifier")
    parser.add_argument("--data", type=pathlib.Path, default=HERE / "data" / "financial_news", help="a folder with train.csv and validation.csv: text,label")
    parser.add_argument("--layers", type=int, default=3, help="of the student")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--alpha", type=float, default=0.7, help="the share of the teacher's answers in the loss, the rest is the labels'")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "out" / "finance-news-student", help="where the student goes")
    parser.add_argument("--small", action="store_true", help="every 40th post: a quick check")
    args = parser.parse_args()
    if not (args.teacher / "config.json").exists():
        sys.exit(f"No teacher in {args.teacher}. First: python examples/finance_news.py, or: --teacher FOLDER")

    set_num_threads(args.threads)
    set_seed(args.seed)
    step = 40 if args.small else 1
    rows, validation = read(args.data / "train.csv")[::step], read(args.data / "validation.csv")[::step]
    teacher_tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    teacher = AutoModelForSequenceClassification.from_pretrained(args.teacher)
    tokenizer, kept_ids = trim_vocabulary(teacher_tokenizer, [row["text"] for row in rows])
    student = student_from_teacher(teacher, layers=args.layers, kept_ids=kept_ids)
    print(f"Teacher: {teacher.config.num_hidden_layers} layers, {len(teacher_tokenizer)} word pieces, {teacher.num_parameters():,} weights")
    print(f"Student: {args.layers} layers, {len(tokenizer)} word pieces, {student.num_parameters():,} weights")

    labels = [{"labels": row["label"]} for row in rows]
    train = [{**own, **theirs, **label} for own, theirs, label in zip(encode(tokenizer, rows), encode(teacher_tokenizer, rows, "teacher_"), labels)]
    held_out = [{**own, "labels": row["label"]} for own, row in zip(encode(tokenizer, validation), validation)]
    trainer = DistillationTrainer(
        model=student, teacher=teacher, temperature=args.temperature, alpha=args.alpha,
        args=TrainingArguments(output_dir=str(args.out / "checkpoints"), num_train_epochs=args.epochs, per_device_train_batch_size=32,
                               per_device_eval_batch_size=64, learning_rate=2e-4, warmup_steps=50 if not args.small else 2, bf16=True,
                               logging_steps=50 if not args.small else 2, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
                               load_best_model_at_end=True, metric_for_best_model="accuracy", seed=args.seed, report_to="none"),
        train_dataset=train, eval_dataset=held_out, processing_class=tokenizer, compute_metrics=accuracy)
    result = trainer.train()
    print(f"Distilled in {result.metrics['train_runtime']:.0f} s")
    trainer.save_model(str(args.out))

    student = AutoModelForSequenceClassification.from_pretrained(args.out)
    teacher_accuracy, teacher_speed = judge(teacher, teacher_tokenizer, validation)
    student_accuracy, student_speed = judge(student, AutoTokenizer.from_pretrained(args.out), validation)
    print(f"\n{'':8} {'accuracy':>9} {'weights':>12} {'posts/s':>9}")
    print(f"{'teacher':8} {teacher_accuracy:9.1%} {teacher.num_parameters():12,} {teacher_speed:9.0f}")
    print(f"{'student':8} {student_accuracy:9.1%} {student.num_parameters():12,} {student_speed:9.0f}")
    print(f"The student keeps {student_accuracy / teacher_accuracy:.1%} of the accuracy with {student.num_parameters() / teacher.num_parameters():.0%} "
          f"of the weights, {student_speed / teacher_speed:.2f} times as fast.")


if __name__ == "__main__":
    main()
