#!/usr/bin/env python3
"""Draws what `compare.py quantized --json FILE` measured: a token and a prompt of each model, in bfloat16, in 4 bits, and in llama.cpp if it ran.

    python bench/compare.py quantized --models MODELS --runners tenon-bf16,tenon --json decoders.json
    python bench/plot_decoders.py decoders.json docs/decoders.png      (needs matplotlib)
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = {"llamacpp": ("llama.cpp, Q4_0", "tab:gray"), "tenon-bf16": ("Tenon, bfloat16", "tab:blue"), "tenon": ("Tenon, AWQ", "tab:orange")}

table = json.load(open(sys.argv[1]))
kinds = [("prefill", "ms for a prompt of 512 tokens"), ("decode", "ms for a token")]
figure, axes = plt.subplots(1, len(kinds), figsize=(9, 3.2), layout="constrained")
for axis, (kind, label) in zip(axes, kinds):
    place, ticks = 0, []
    for case, row in table.items():
        if not case.split(":")[1].startswith(kind):
            continue
        first = place
        for runner, (name, colour) in NAMES.items():
            if runner not in row:
                continue
            ms = row[runner]["ms"]
            axis.bar(place, ms, color=colour, label=name if name not in axis.get_legend_handles_labels()[1] else None)
            axis.annotate(f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}", (place, ms), ha="center", va="bottom", fontsize=8)
            place += 1
        ticks.append(((first + place - 1) / 2, case.split(":")[0]))
        place += 1
    axis.set_xticks([t for t, _ in ticks], [n for _, n in ticks])
    axis.set_ylabel(label)
    axis.grid(alpha=0.3, axis="y")
    axis.margins(y=0.12)
axes[0].legend(frameon=False, fontsize=8)
figure.savefig(sys.argv[2], dpi=110)
