#!/usr/bin/env python3
"""Claim c: raising the number of active experts from 2 to 8 of 16 while training does better than 2 or 8 throughout, at equal operations.

    python examples/experiments/progressive_experts.py            the full setting
    python examples/experiments/progressive_experts.py --small    seconds

One model, three schedules, several seeds; each stops when it has spent the operations of the run with 8. Python code, loss of held-out files,
at the number of experts that the schedule ends with and at 2, 4 and 8.
"""
import random

import common
import domains
from tenon.experts import ProgressiveExperts, training_flops_per_token


def main() -> None:
    parser = common.arguments(__doc__.splitlines()[0], "progressive_experts")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on")
    args = parser.parse_args()
    small = args.small
    length, batch = (32, 8) if small else (128, 16)
    texts = domains.python_sources(60_000 if small else 4_000_000, args.seed)
    training, held = domains.split(texts, 0.1)
    tokenizer = common.tokenizer_of(training, 400 if small else 2000)
    rows = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, training, length)]
    check = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, held, length)]
    random.Random(args.seed).shuffle(check)
    check = check[: 16 if small else args.check]
    width, layers, heads, expert = (32, 2, 2, 16) if small else (128, 3, 4, 128)
    steps = 12 if small else max(20, int(400 * args.scale))  # of the run with 8
    results, curves = [], {}
    for seed in range(args.seed, args.seed + args.seeds):
        def fresh():
            model = common.mixture(len(tokenizer), width, layers, heads, expert, length, seed, active=8)
            model.set_routing(balance=0.01, z=0.001)
            return model

        cost = {k: batch * length * training_flops_per_token(fresh(), length, k) for k in (2, 3, 4, 5, 6, 7, 8)}
        budget = steps * cost[8]
        finish = 0.75
        # Stages of equal length up to `finish`, then 8: so many steps cost the budget.
        mean = finish * sum(cost.values()) / len(cost) + (1 - finish) * cost[8]
        plans = {"2 throughout": (2, round(budget / cost[2]), []), "8 throughout": (8, steps, []),
                 "2 to 8": (8, round(budget / mean), [ProgressiveExperts(start=2, end=8, finish=finish, soft_start=0.3)])}
        for name, (final, count, callbacks) in plans.items():
            model = fresh()
            if not callbacks:
                model.set_active_experts(final)
            curve = common.Curve(check, max(1, count // 10), batch * length, length)
            trainer = common.train(model, rows, count, batch, 1e-3 if small else 2e-3, seed, [curve, *callbacks], warmup=max(1, steps // 20))
            row = {"schedule": name, "seed": seed, "steps": count, "TFLOP": curve.flops / 1e12, "seconds": curve.seconds, "loss": curve.points[-1]["loss"]}
            for k in (2, 4, 8):
                with model.active_experts(k):
                    row[f"loss at {k}"] = common.language_loss(model, check)
            log = [e for e in trainer.state.log_history if "max_violation" in e][-1]
            row.update({"MaxVio": log["max_violation"], "dead experts": log["dead_experts"]})
            results.append(row)
            if seed == args.seed:
                curves[name] = curve.points
            print(common.markdown(results[-1:]))
    means = [{"schedule": name, "mean loss": sum(r["loss"] for r in results if r["schedule"] == name) / args.seeds}
             for name in dict.fromkeys(r["schedule"] for r in results)]
    print(common.markdown(means))
    common.write(args.out, args, results, means=means, curves=curves)
    common.picture(args.out / "loss.png", curves, title="2 to 8 active experts of 16 against fixed numbers: Python code")


if __name__ == "__main__":
    main()
