#!/usr/bin/env python3
"""Measures the memory and time of attention as it is (a tiled kernel, no T x T) and of attention written out as softmax(q k^T) v, forward and
with gradients, each in a process of its own, and draws both.

    python bench/plot_attention.py docs/attention.png      (needs matplotlib)
    python bench/plot_attention.py --table                 the figures alone
"""
import argparse
import json
import math
import resource
import subprocess
import sys
import time

HEADS, WIDTH = 12, 64
LENGTHS = (512, 1024, 2048, 4096, 8192)


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind, gradients, length):
    """Megabytes above those before, and seconds (the best of three), of one attention of 12 heads of 64, causal, float32."""
    import numpy as np
    import tenon
    from tenon.nn import functional as F
    generator = np.random.default_rng(0)
    q, k, v = (tenon.tensor(generator.standard_normal((1, HEADS, length, WIDTH), dtype=np.float32), requires_grad=gradients) for _ in range(3))
    hidden = tenon.tensor(np.triu(np.full((length, length), -np.inf, np.float32), 1)) if kind == "written out" else None

    def attend():
        if kind == "tiled":
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            out = F.softmax(q @ k.transpose(-2, -1) * (1 / math.sqrt(WIDTH)) + hidden, -1) @ v
        if gradients:
            out.sum().backward()
        return out

    before = peak_megabytes()
    seconds = math.inf
    for _ in range(1 if length > 4096 else 3):
        start = time.perf_counter()
        out = attend()
        seconds = min(seconds, time.perf_counter() - start)
        del out
    return {"MB": peak_megabytes() - before, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?")
    parser.add_argument("--table", action="store_true", help="print the figures, draw nothing")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "GRADIENTS", "LENGTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], args.one[1] == "yes", int(args.one[2]))))
        return
    if not args.picture and not args.table:
        parser.error("expected a picture's name or --table")
    rows = {}
    print(f"{'':24}{'length':>8}{'MB':>10}{'ms':>10}")
    for gradients in ("no", "yes"):
        for kind in ("tiled", "written out"):
            for length in LENGTHS:
                done = subprocess.run([sys.executable, __file__, "--one", kind, gradients, str(length)], capture_output=True, text=True)
                if done.returncode:  # memory ran out: the point is left out of the picture
                    print(f"{kind:24}{length:8}   {(done.stderr.strip().splitlines() or ['killed'])[-1][:90]}")
                    continue
                r = rows[kind, gradients, length] = json.loads(done.stdout)
                print(f"{kind + (', gradients' if gradients == 'yes' else ''):24}{length:8}{r['MB']:10.1f}{1e3 * r['seconds']:10.1f}", flush=True)
    longest = max(LENGTHS)
    for gradients in ("no", "yes"):
        if (("tiled", gradients, longest) in rows) and (("written out", gradients, longest) in rows):
            share = rows["tiled", gradients, longest]["MB"] / rows["written out", gradients, longest]["MB"]
            print(f"at {longest} tokens, {'with gradients' if gradients == 'yes' else 'forward'}: {100 * (1 - share):.1f} % less memory")
    if args.table:
        return
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, what, label in ((axes[0], "MB", "MB beside q, k and v"), (axes[1], "seconds", "seconds")):
        for kind, colour in (("tiled", "tab:blue"), ("written out", "tab:gray")):
            for gradients, style in (("no", "o-"), ("yes", "s--")):
                points = [(n, max(rows[kind, gradients, n][what], 1e-3)) for n in LENGTHS if (kind, gradients, n) in rows]
                if points:
                    axis.plot(*zip(*points), style, color=colour, label=kind + (", with gradients" if gradients == "yes" else ""))
        axis.set(xlabel="tokens (12 heads of 64, causal, float32)", ylabel=label, xscale="log", yscale="log")
        axis.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
