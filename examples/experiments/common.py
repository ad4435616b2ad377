"""What the experiments share: arguments, models of one shape, training under a budget of operations, tables and pictures."""
from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import platform
import tempfile
import time
from typing import Any

import numpy as np

import tenon
from tenon.experts import training_flops_per_token
from tenon.trainer import TrainerCallback


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """--small, --seed, --out and --scale."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="a setting of seconds, to see that it runs; its figures mean nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="shortens (below 1) or lengthens the training")
    parser.add_argument("--check", type=int, default=200, help="how many held-out sequences, and of completions twice as many, are looked at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--bf16", action="store_true", help="computes in bfloat16 with float32 weights")
    parser.add_argument("--cpu-time", action="store_true", help="seconds are the processor's time of this process: for --threads 1 on a busy machine")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("examples/out/experiments") / name, help="folder of the table and the picture")
    return parser


def tokenizer_of(texts: "list[str]", vocab_size: int) -> Any:
    """Byte-level BPE."""
    return tenon.train_tokenizer(texts, kind="bpe", vocab_size=vocab_size, special_tokens=["<|endoftext|>"], progress=False)


def dense(vocab_size: int, width: int, layers: int, heads: int, inner: int, length: int, seed: int) -> Any:
    """A Llama with fresh weights."""
    tenon.manual_seed(seed)
    return tenon.LlamaForCausalLM(tenon.LlamaConfig(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, max_position_embeddings=max(256, length), tie_word_embeddings=True))


def mixture(vocab_size: int, width: int, layers: int, heads: int, inner: int, length: int, seed: int, experts: int = 16, active: int = 2) -> Any:
    """A Mixtral of the same shape; `inner` is the width of an expert."""
    tenon.manual_seed(seed)
    return tenon.MixtralForCausalLM(tenon.MixtralConfig(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, max_position_embeddings=max(256, length), tie_word_embeddings=True, num_local_experts=experts,
        num_experts_per_tok=active))


def batches(rows: "list[dict]", size: int) -> Any:
    for start in range(0, len(rows), size):
        yield np.array([row["input_ids"] for row in rows[start : start + size]], np.int64)


def language_loss(model: Any, rows: "list[dict]", size: int = 32) -> float:
    """Cross-entropy per token of sequences of one length, in eval() mode: without the routers' losses."""
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    with tenon.no_grad():
        for ids in batches(rows, size):
            tokens = ids.shape[0] * (ids.shape[1] - 1)
            total += model(input_ids=ids, labels=ids, use_cache=False).loss.item() * tokens
            count += tokens
    model.train(was_training)
    return total / count


class Curve(TrainerCallback):
    """Validation loss against steps, operations and seconds of training; evaluation is not counted. Stops at a budget of operations."""

    def __init__(self, rows: "list[dict]", every: int, tokens_per_step: int, length: int, budget: float = math.inf, cpu_time: bool = False) -> None:
        self.rows, self.every, self.tokens, self.length, self.budget = rows, every, tokens_per_step, length, budget
        self.clock = time.process_time if cpu_time else time.perf_counter
        self.flops = self.seconds = 0.0
        self.points: list[dict] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._begin = self.clock()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.seconds += self.clock() - self._begin
        self.flops += self.tokens * training_flops_per_token(model, self.length)
        stop = self.flops >= self.budget or state.global_step >= state.max_steps
        if stop or state.global_step % self.every == 0:
            self.points.append({"step": state.global_step, "flops": self.flops, "seconds": self.seconds, "loss": language_loss(model, self.rows)})
        if stop:
            control.should_training_stop = True


def train(model: Any, rows: "list[dict]", steps: int, batch: int, rate: float, seed: int, callbacks: "list[Any]" = (), trainer_class: Any = None,
          warmup: int = 0, schedule: str = "constant_with_warmup", bf16: bool = False, **options: Any) -> Any:
    """Trains with AdamW, at a constant rate after a warm-up or as `schedule` says; returns the trainer."""
    with tempfile.TemporaryDirectory() as folder:
        args = tenon.TrainingArguments(folder, per_device_train_batch_size=batch, max_steps=steps, learning_rate=rate, weight_decay=0.1,
                                       adam_beta2=0.95, lr_scheduler_type=schedule, bf16=bf16, warmup_steps=warmup or max(1, steps // 20),
                                       logging_steps=max(1, steps // 10), save_strategy="no", seed=seed, disable_tqdm=True, report_to="none")
        trainer = (trainer_class or tenon.Trainer)(model, args, train_dataset=rows, callbacks=list(callbacks), **options)
        trainer.remove_callback(tenon.PrinterCallback)
        trainer.train()
    return trainer


def reached(points: "list[dict]", loss: float, key: str) -> "float | None":
    """Where a curve first gets to a loss, between its points; None if it does not."""
    for before, after in zip([None, *points], points):
        if after["loss"] <= loss:
            if before is None or before["loss"] == after["loss"]:
                return float(after[key])
            share = (before["loss"] - loss) / (before["loss"] - after["loss"])
            return float(before[key] + share * (after[key] - before[key]))
    return None


def machine() -> str:
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
                 platform.processor()) if os.path.exists("/proc/cpuinfo") else platform.processor()
    return f"{model}, {tenon.get_num_threads()} threads, {tenon.kernels_name()} kernels"


def markdown(rows: "list[dict]") -> str:
    """A table with one column a key."""
    def shown(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)

    keys = list(dict.fromkeys(k for row in rows for k in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(shown(row.get(k)) for k in keys) + " |" for row in rows]
    return "\n".join(lines)


def write(out: pathlib.Path, args: argparse.Namespace, rows: "list[dict]", show: bool = True, **more: Any) -> None:
    """results.json and results.md, and the table on the screen. A long run writes after each row, without showing."""
    out.mkdir(parents=True, exist_ok=True)
    setting = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in vars(args).items() if k != "out"}
    text = json.dumps({"setting": setting, "machine": machine(), "date": time.strftime("%Y-%m-%d"), "rows": rows, **more}, indent=1)
    for name, content in (("results.json", text + "\n"), ("results.md", markdown(rows) + "\n")):
        draft = out / f".{name}"
        draft.write_text(content, encoding="utf-8")
        draft.replace(out / name)
    if show:
        print(markdown(rows))
        print(f"written to {out}")


def picture(path: pathlib.Path, curves: "dict[str, list[dict]]", x: str = "flops", title: str = "", scale: float = 1e12, label: str = "TFLOP of training") -> None:
    """Validation losses against what they cost; nothing without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, points in curves.items():
        axis.plot([p[x] / scale for p in points], [p["loss"] for p in points], marker=".", label=name)
    axis.set_xlabel(label)
    axis.set_ylabel("validation loss (nats per token)")
    axis.set_title(title, fontsize=10)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
