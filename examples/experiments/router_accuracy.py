#!/usr/bin/env python3
"""Claim b: with entropy-regularised routing and expert distillation a router sends texts to the experts of their domains.

    python examples/experiments/router_accuracy.py            the full setting
    python examples/experiments/router_accuracy.py --small    seconds

Texts of eight domains, 16 experts in each layer, 2 active. Accuracy: the share of held-out tokens, and of held-out sequences, whose top expert
(of a sequence: that of most of its tokens) is their domain's; experts are assigned to domains one to one on the training texts, and so
is the layer chosen that counts. Every variant starts from the same weights and reads the same batches.
"""
import random

import numpy as np

import common
import domains
import tenon
from tenon.experts import ExpertDistillationTrainer, RouterMonitor, count_domains, heat_map, router_accuracy, router_statistics

NAMED = {d: d for d in range(len(domains.NAMES))}
PAIRS = {d: (d, d + len(domains.NAMES)) for d in range(len(domains.NAMES))}  # as many as are active: nothing is left to balance
VARIANTS = {
    "no balance": dict(report=True),
    "balance loss 0.01": dict(balance=0.01),
    "entropies 0.01, 0.001": dict(load_entropy=0.01, token_entropy=0.001),
    "entropies 0.1, 0.02": dict(load_entropy=0.1, token_entropy=0.02),
    "entropies 0.01, 0.001, named experts": dict(load_entropy=0.01, token_entropy=0.001),
    "entropies 0.01, 0.001, named pairs of experts": dict(load_entropy=0.01, token_entropy=0.001),
    "entropies 0.01, 0.001, named pairs of experts, teachers": dict(load_entropy=0.01, token_entropy=0.001),
}


def held_loads(model, rows):
    """Tokens that each expert of each layer gets of held-out rows: (layers, experts), over both places."""
    total = None
    model.set_routing(report=True)
    model.eval()
    for ids in common.batches(rows, 32):
        loads = np.asarray(model(input_ids=ids, use_cache=False).expert_loads)
        total = loads if total is None else total + loads
    return total


def main() -> None:
    parser = common.arguments(__doc__.splitlines()[0], "router_accuracy")
    parser.add_argument("--monitor", action="store_true", help="shows loads and entropies while training")
    parser.add_argument("--variants", type=int, nargs="*", help="which of them, by number from 0; all without")
    args = parser.parse_args()
    small = args.small
    tenon.set_num_threads(args.threads)
    length, batch, per_domain = (16, 8, 8) if small else (64, 32, 60)
    steps = 6 if small else max(20, int(300 * args.scale))
    texts = domains.load_domains(12_000 if small else 200_000, args.seed)
    tokenizer = common.tokenizer_of([t for part in texts.values() for t in domains.split(part)[0]], 400 if small else 3000)
    rows, held = domains.labelled_rows(tokenizer, texts, length, None if not small else 30, args.seed)
    random.Random(args.seed).shuffle(held)
    check = [row for d in range(len(texts)) for row in [r for r in held if r["domain"] == d][:per_domain]]
    seen = [row for d in range(len(texts)) for row in [r for r in rows if r["domain"] == d][:per_domain]]
    sizes = {name: sum(r["domain"] == d for r in check) for d, name in enumerate(texts)}
    print(f"{len(rows):,} training sequences of {length}; held out: {sizes}")
    shape = dict(width=32, layers=2, heads=2, length=length) if small else dict(width=96, layers=3, heads=4, length=length)
    teachers = {}
    results, accuracies = [], {}
    for number, (name, settings) in enumerate(VARIANTS.items()):
        if args.variants and number not in args.variants:
            continue
        model = common.mixture(len(tokenizer), inner=16 if small else 96, seed=args.seed, **shape)
        model.set_routing(**settings)
        options = {}
        if "named" in name:
            options = dict(trainer_class=ExpertDistillationTrainer, experts_of_domains=PAIRS if "pairs" in name else NAMED, router_weight=0.3, kl_weight=0.0)
        if "teachers" in name:
            for d in range(len(texts)):
                teachers[d] = common.dense(len(tokenizer), inner=32 if small else 256, seed=args.seed + 100 + d, **shape)
                own = [{k: v for k, v in r.items() if k != "domain"} for r in rows if r["domain"] == d]
                common.train(teachers[d], own, max(2, steps // 4), batch, 2e-3, args.seed, bf16=args.bf16)
            options.update(teacher=teachers, kl_weight=0.3)
        curve = common.Curve(check, steps, batch * length, length, cpu_time=args.cpu_time)
        callbacks = [curve, RouterMonitor()] if args.monitor else [curve]
        plain = rows if options else [{k: v for k, v in r.items() if k != "domain"} for r in rows]
        common.train(model, plain, steps, batch, 2e-3, args.seed, callbacks, bf16=args.bf16, **options)
        counts = count_domains(model, check, len(texts))
        found = router_accuracy(count_domains(model, seen, len(texts)), counts)
        loads = router_statistics(held_loads(model, check))
        results.append({"variant": name, "sequences %": 100 * found.sequences, "tokens %": 100 * found.tokens, "layer": found.layer,
                        "sequences %, mean of layers": 100 * float(np.mean(found.sequences_by_layer)), "MaxVio": loads["max_violation"],
                        "dead experts": loads["dead_experts"], "load entropy": loads["load_entropy"], "loss": curve.points[-1]["loss"],
                        "seconds": curve.seconds})
        accuracies[name] = {"experts": found.experts, "by domain": dict(zip(texts, found.sequences_by_domain)),
                            "tokens by layer": found.tokens_by_layer, "sequences by layer": found.sequences_by_layer}
        print(common.markdown(results[-1:]), flush=True)
        common.write(args.out, args, results, show=False, details=accuracies, held_out=sizes)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            heat_map(counts.tokens, args.out / f"experts-{len(results)}.png", list(texts), f"{name}: where held-out tokens go first")
        except ImportError as error:
            print(error)
    common.write(args.out, args, results, details=accuracies, held_out=sizes)


if __name__ == "__main__":
    main()
