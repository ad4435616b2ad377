#!/usr/bin/env python3
"""Draws what `compare.py moe --json FILE` measured: time by active experts, and by all of them.

    python bench/plot_moe.py FILE docs/moe.png      (needs matplotlib)
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

table = json.load(open(sys.argv[1]))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for axis, kind, place, label in ((axes[0], "wide", 1, "active of 16 experts (2048, experts of 4096)"),
                                 (axes[1], "narrow", 0, "experts, 2 of them active (1024, experts of 1024)")):
    for runner, colour, name in (("tenon", "tab:blue", "Tenon"), ("torch", "tab:gray", "PyTorch, Transformers")):
        points = sorted((int(case.split(":")[1].split("x")[place]), row[runner]["ms"]) for case, row in table.items()
                        if case.startswith(kind) and case.endswith("bf16") and runner in row)
        axis.plot(*zip(*points), "o-", color=colour, label=name)
    axis.set(xlabel=label, ylabel="ms for 512 tokens, bfloat16", ylim=(0, None))
    axis.grid(alpha=0.3)
axes[1].set_xscale("log", base=2)
axes[1].set_xticks([8, 16, 64, 256], ["8", "16", "64", "256"])
axes[0].legend(frameon=False)
figure.savefig(sys.argv[2], dpi=110)
