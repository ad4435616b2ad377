#!/usr/bin/env python3
"""Claim c: raising the number of active experts from 2 to 8 of 16 while training does better than 2 or 8 throughout, at equal operations.

    python examples/experiments/progressive_experts.py            the full setting
    python examples/experiments/progressive_experts.py --small    seconds

One model, several schedules and seeds; each run has as many steps as the operations of the run with 8 pay for, and a learning rate that falls to zero
over them (a cosine). The rates are the best of `--tune`. Python code, loss of held-out files, at the number of experts that the schedule ends with
and at 2, 4 and 8.
"""
import random

import common
import domains
import tenon
from tenon.experts import ProgressiveExperts, training_flops_per_token

WIDTH, LAYERS, VOCABULARY, STEPS, RATE = 32, 2, 300, 4000, 8e-3
# name -> (experts at the end, begin and finish of the schedule as shares of the run)
SCHEDULES = {"2 throughout": (2, None), "4 throughout": (4, None), "8 throughout": (8, None), "2 to 8, until 75 %": (8, (0.0, 0.75)),
             "2 to 8, from 60 % to 90 %": (8, (0.6, 0.9))}


def main() -> None:
    parser = common.arguments(__doc__.splitlines()[0], "progressive_experts")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on; the texts stay")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    parser.add_argument("--tune", type=float, nargs="+", help="trains a fifth as long, with 2 and with 8, at each of these learning rates, and stops")
    parser.add_argument("--schedules", type=int, nargs="*", help="which of them, by number from 0; all without")
    parser.add_argument("--text", type=int, default=9_000_000, help="bytes of Python code to learn from and to check with")
    args = parser.parse_args()
    small = args.small
    tenon.set_num_threads(args.threads)
    length, batch = (32, 8) if small else (128, 16)
    texts = domains.python_sources(60_000 if small else args.text, args.seed)
    training, held = domains.split(texts, 0.1)
    tokenizer = common.tokenizer_of(training, 400 if small else VOCABULARY)
    rows = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, training, length)]
    check = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, held, length)]
    random.Random(args.seed).shuffle(check)
    check = check[: 16 if small else args.check]
    print(f"{len(rows):,} sequences of {length} to learn from, {len(check)} to check with, vocabulary {len(tokenizer):,}", flush=True)
    width, layers, heads = (16, 2, 2) if small else (WIDTH, LAYERS, 4)
    steps = 12 if small else max(20, int(STEPS * args.scale))  # of the run with 8

    def fresh(seed):
        model = common.mixture(len(tokenizer), width, layers, heads, width, length, seed, active=8)
        model.set_routing(balance=0.01, z=0.001)
        return model

    cost = {k: batch * length * training_flops_per_token(fresh(0), length, k) for k in range(2, 9)}

    def run(seed, final, span, rate, budget):
        mean = cost[final]
        if span:  # 2, then stages of equal length, then 8
            mean = span[0] * cost[2] + (span[1] - span[0]) * sum(cost.values()) / len(cost) + (1 - span[1]) * cost[8]
        count = max(10, round(budget / mean))
        model = fresh(seed)
        model.set_active_experts(final)
        curve = common.Curve(check, max(1, count // 10), batch * length, length, cpu_time=args.cpu_time)
        callbacks = [ProgressiveExperts(start=2, end=final, begin=span[0], finish=span[1], soft_start=0.3)] if span else []
        trainer = common.train(model, rows, count, batch, rate, seed, [curve, *callbacks], schedule="cosine", bf16=args.bf16)
        row = {"steps": count, "epochs": count * batch / len(rows), "TFLOP": curve.flops / 1e12, "seconds": curve.seconds, "loss": curve.points[-1]["loss"]}
        return model, trainer, curve, row

    if args.tune:
        tuned = []
        for final in (2, 8):
            for rate in args.tune:
                row = run(args.seed, final, None, rate, steps * cost[8] / 5)[3]
                tuned.append({"experts": final, "rate": rate, **row})
                print(common.markdown(tuned[-1:]), flush=True)
        common.write(args.out / "tune", args, tuned)
        return
    results, curves = [], {}
    for seed in range(args.seed, args.seed + args.seeds):
        for number, (name, (final, span)) in enumerate(SCHEDULES.items()):
            if args.schedules and number not in args.schedules:
                continue
            model, trainer, curve, row = run(seed, final, span, args.rate, steps * cost[8])
            row = {"schedule": name, "seed": seed, **row}
            for k in (2, 4, 8):
                with model.active_experts(k):
                    row[f"loss at {k}"] = common.language_loss(model, check)
            log = [e for e in trainer.state.log_history if "max_violation" in e][-1]
            row.update({"MaxVio": log["max_violation"], "dead experts": log["dead_experts"]})
            results.append(row)
            if seed == args.seed:
                curves[name] = curve.points
            print(common.markdown(results[-1:]), flush=True)
            common.write(args.out, args, results, show=False, curves=curves)
    means = [{"schedule": name, "mean loss": sum(r["loss"] for r in results if r["schedule"] == name) / args.seeds}
             for name in dict.fromkeys(r["schedule"] for r in results)]
    print(common.markdown(means))
    common.write(args.out, args, results, means=means, curves=curves)
    common.picture(args.out / "loss.png", curves, title="2 to 8 active experts of 16 against fixed numbers: Python code")


if __name__ == "__main__":
    main()
