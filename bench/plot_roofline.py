#!/usr/bin/env python3
"""Draws what `tenon bench MODEL [--generate] --json FILE` measured: each kind of layer under the roof that memory and arithmetic leave it.

    python bench/plot_roofline.py FILE [FILE ...] docs/roofline.png      (needs matplotlib)

Across: operations for each byte that is read or written. Up: operations a second. The slope is what memory delivers, the flat parts what the
processor computes in float32, bfloat16 and int8. A point's area is its share of the time.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {"float32": "tab:gray", "bfloat16": "tab:blue", "int8": "tab:orange"}


def draw(axis, report, one):
    limits = report["limits"]
    x = np.geomspace(0.2, 5000, 300)
    for kind, colour in COLOURS.items():
        if limits[kind]:
            axis.plot(x, np.minimum(limits["read"] * x, limits[kind]), color=colour, lw=1, label=f"{kind}, {limits[kind]:.0f} GFLOP/s")
    for part in one["parts"]:
        if not part["operations"] or part["seconds"] < 0.005 * one["seconds"]:
            continue
        at, speed = part["operations"] / part["bytes"], part["operations"] / part["seconds"] / 1e9
        axis.scatter([at], [speed], s=20 + 500 * part["seconds"] / one["seconds"], color=COLOURS[part["arithmetic"]], alpha=0.5)
        axis.annotate(part["kind"], (at, speed), textcoords="offset points", xytext=(6, -10), fontsize=7)
    model = report["model"].rstrip("/").split("/")[-1]
    axis.set(xscale="log", yscale="log", title=f"{model}: {one['title']}", xlabel="operations per byte", ylim=(1, None))
    axis.title.set_fontsize(9)
    axis.grid(alpha=0.3)


def main():
    *files, picture = sys.argv[1:]
    panels = [(report, one) for report in (json.load(open(f)) for f in files) for one in report["passes"]]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6), layout="constrained", squeeze=False)
    for axis, (report, one) in zip(axes[0], panels):
        draw(axis, report, one)
    axes[0][0].set_ylabel("GFLOP/s")
    axes[0][0].legend(frameon=False, fontsize=7)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
