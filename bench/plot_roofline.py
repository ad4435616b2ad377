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
    lines = []
    for part in one["parts"]:
        share = part["seconds"] / one["seconds"]
        if not part["operations"] or share < 0.005:
            continue
        at, speed = part["operations"] / part["bytes"], part["operations"] / part["seconds"] / 1e9
        roof = min(limits["read"] * at, limits[part["arithmetic"]] or np.inf)
        lines.append(f"{len(lines) + 1}  {part['kind']}: {100 * share:.0f} % of the time, {100 * speed / roof:.0f} % of its roof")
        axis.scatter([at], [speed], s=20 + 500 * share, color=COLOURS[part["arithmetic"]], alpha=0.5)
        shift = 9 * (-1) ** len(lines) * (1 + len(lines) // 3)  # points often lie on each other
        axis.annotate(str(len(lines)), (at, speed), textcoords="offset points", xytext=(shift, -12 if shift > 0 else 8), fontsize=7)
    axis.text(0.98, 0.03, "\n".join(lines), transform=axis.transAxes, ha="right", va="bottom", fontsize=7)
    model = report["model"].rstrip("/").split("/")[-1]
    axis.set(xscale="log", yscale="log", title=f"{model}: {one['title']}", xlabel="operations per byte", ylim=(1, None))
    axis.title.set_fontsize(9)
    axis.grid(alpha=0.3)


def main():
    *files, picture = sys.argv[1:]
    panels = [(report, one) for report in (json.load(open(f)) for f in files) for one in report["passes"]]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3.6 * rows), layout="constrained", squeeze=False)
    for axis, (report, one) in zip(axes.flat, panels):
        draw(axis, report, one)
    for line in axes:
        line[0].set_ylabel("GFLOP/s")
    axes[0][0].legend(frameon=False, fontsize=7, loc="upper left")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
