#!/usr/bin/env python3
"""Claim a: a mixture of 16 experts reaches a dense model's loss with fewer operations and in less time, on completing Python code.

    python examples/experiments/moe_against_dense.py            the full setting
    python examples/experiments/moe_against_dense.py --small    seconds

The models have the same layers but for the feed-forward part: that of one dense model is 4 times as wide as the model, of the other 8 times; the
mixture has 16 experts twice as wide as the model, two of which are active. So a token costs in the mixture what it costs in the narrower dense
model, and about 60 % of what it costs in the wider one. The dense models learn once, the mixture anew with each of several shares of the narrower
one's operations, so that every run ends with its learning rate at zero and losses can be compared; where the mixture reaches a dense model's loss is
read between its runs. The learning rates are the best of `--tune`. Completions are the rest of a line of held-out files, by greedy
search: exact match, and BLEU-4 of their tokens over all lines (smoothed by 1).
"""
import collections
import math
import random

import numpy as np

import common
import domains
import tenon
from tenon.experts import training_flops_per_token

WIDTH, LAYERS, STEPS = 96, 4, 2000
RATE_DENSE, RATE_EXPERTS = 4e-3, 4e-3
DENSE = {"dense": 4, "wide dense": 8}  # how many times as wide as the model the feed-forward part is


def bleu(candidates: "list[list[int]]", references: "list[list[int]]") -> float:
    """Corpus BLEU with up to 4-grams, counts + 1 above unigrams, and the brevity penalty; 0 to 100. Source: Papineni et al. 2002, Lin and Och 2004."""
    logs = 0.0
    for n in range(1, 5):
        hits = total = 0
        for got, want in zip(candidates, references):
            grams = collections.Counter(tuple(got[i : i + n]) for i in range(len(got) - n + 1))
            have = collections.Counter(tuple(want[i : i + n]) for i in range(len(want) - n + 1))
            hits += sum(min(c, have[g]) for g, c in grams.items())
            total += sum(grams.values())
        hits, total = (hits, total) if n == 1 else (hits + 1, total + 1)
        if not hits or not total:
            return 0.0
        logs += math.log(hits / total) / 4
    got, want = sum(map(len, candidates)), sum(map(len, references))
    return 100 * math.exp(logs) * min(1.0, math.exp(1 - want / max(got, 1)))


def completions(model, tokenizer, texts, count, seed, context=48, most=24):
    """Exact match (share) and BLEU of the rests of lines."""
    draw = random.Random(seed)
    newline = [i for i in range(len(tokenizer)) if "\n" in tokenizer.decode([i])]
    stops = set(newline)
    prompts, wants = [], []
    while len(prompts) < count:
        ids = tokenizer(draw.choice(texts))["input_ids"]
        if len(ids) < context + most + 2:
            continue
        at = draw.randrange(context, len(ids) - most)
        want = []
        for token in ids[at : at + most]:
            if token in stops:
                break
            want.append(token)
        if 3 <= len(want) < most:
            prompts.append(ids[at - context : at])
            wants.append(want)
    got = []
    model.eval()
    for start in range(0, count, 50):
        part = np.array(prompts[start : start + 50])
        made = np.asarray(model.generate(part, max_new_tokens=most, do_sample=False, pad_token_id=0, eos_token_id=newline[0]))[:, context:]
        for row in made.tolist():
            got.append(row[: next((i for i, t in enumerate(row) if t in stops), len(row))])
    return sum(a == b for a, b in zip(got, wants)) / count, bleu(got, wants)


def equal(points, loss):
    """With how many TFLOP and seconds the mixture has a loss: between its runs, straight in the logarithm; None outside of them."""
    ordered = sorted(points, key=lambda p: p["TFLOP"])
    for before, after in zip(ordered, ordered[1:]):
        if before["loss"] >= loss >= after["loss"]:
            part = (before["loss"] - loss) / max(before["loss"] - after["loss"], 1e-12)
            return {key: before[key] * (after[key] / before[key]) ** part for key in ("TFLOP", "seconds")}
    return None


def main() -> None:
    parser = common.arguments(__doc__.splitlines()[0], "moe_against_dense")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.4, 0.6, 1.0], help="of the narrower dense model's operations, for the mixture's runs")
    parser.add_argument("--rates", type=float, nargs=2, default=[RATE_DENSE, RATE_EXPERTS], help="learning rates of the dense models and of the mixture")
    parser.add_argument("--tune", type=float, nargs="+", help="trains a fifth as long with each of these learning rates, prints the losses, and stops")
    parser.add_argument("--models", nargs="+", choices=[*DENSE, "16 experts"], default=[*DENSE, "16 experts"], help="train these alone")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on; the texts stay")
    args = parser.parse_args()
    small = args.small
    tenon.set_num_threads(args.threads)
    length, batch = (32, 8) if small else (128, 16)
    steps = 12 if small else max(20, int(STEPS * args.scale))
    texts = domains.python_sources(60_000 if small else 9_000_000, args.seed)
    training, held = domains.split(texts, 0.1)
    tokenizer = common.tokenizer_of(training, 400 if small else 1000)
    rows = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, training, length)]
    check = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, held, length)]
    random.Random(args.seed).shuffle(check)
    check = check[: 16 if small else args.check]
    print(f"{len(rows):,} sequences of {length} to learn from, {len(check)} to check with, vocabulary {len(tokenizer):,}", flush=True)
    width, layers, heads = (32, 2, 2) if small else (WIDTH, LAYERS, 4)
    rates = {kind: args.rates[kind not in DENSE] for kind in args.models}

    def fresh(kind, seed):
        shape = dict(width=width, layers=layers, heads=heads, length=length, seed=seed)
        if kind in DENSE:
            return common.dense(len(tokenizer), inner=DENSE[kind] * width, **shape)
        model = common.mixture(len(tokenizer), inner=2 * width, **shape)
        model.set_routing(balance=0.01, z=0.001)
        return model

    def run(kind, seed, count, rate):
        model, curve = fresh(kind, seed), common.Curve(check, max(1, count // 8), batch * length, length, cpu_time=args.cpu_time)
        trainer = common.train(model, rows, count, batch, rate, seed, [curve], schedule="cosine", bf16=args.bf16)
        return model, curve, [e for e in trainer.state.log_history if "max_violation" in e]

    if args.tune:
        tuned = []
        for kind in rates:
            for rate in args.tune:
                _, curve, _ = run(kind, args.seed, max(12, steps // 5), rate)
                tuned.append({"model": kind, "rate": rate, "steps": curve.points[-1]["step"], "loss": curve.points[-1]["loss"]})
                print(common.markdown(tuned[-1:]), flush=True)
        common.write(args.out / "tune", args, tuned)
        return
    price = {kind: batch * length * training_flops_per_token(fresh(kind, 0), length) for kind in ("dense", "16 experts")}
    counts = [round(steps * share * price["dense"] / price["16 experts"]) for share in args.shares]
    results, curves, at = [], {}, []
    for seed in range(args.seed, args.seed + args.seeds):
        own = []
        for kind, count in [(kind, n) for kind in args.models for n in ([steps] if kind in DENSE else counts)]:
            model, curve, logs = run(kind, seed, max(6, count), rates[kind])
            exact, score = completions(model, tokenizer, held, 20 if small else 2 * args.check, args.seed)
            end = curve.points[-1]
            own.append({"model": kind, "seed": seed, "parameters": model.num_parameters(), "active": tenon.experts.active_parameters(model),
                        "steps": end["step"], "TFLOP": end["flops"] / 1e12, "seconds": end["seconds"], "loss": end["loss"], "exact match %": 100 * exact,
                        "BLEU": score, "MaxVio": logs[-1]["max_violation"] if logs else None, "dead experts": logs[-1]["dead_experts"] if logs else None})
            if seed == args.seed:
                curves[kind if kind in DENSE else f"16 experts, {end['step']} steps"] = curve.points
            print(common.markdown(own[-1:]), flush=True)
            common.write(args.out, args, results + own, show=False, curves=curves)
        for dense in [row for row in own if row["model"] in DENSE]:
            found = equal([row for row in own if row["model"] not in DENSE], dense["loss"])
            at.append({"against": dense["model"], "seed": seed, "loss": dense["loss"], **{
                f"{key} saved %": None if found is None else 100 * (1 - found[key] / dense[key]) for key in ("TFLOP", "seconds")}})
        results += own
    print(common.markdown(at))
    common.write(args.out, args, results, equal_loss=at, curves=curves)
    common.picture(args.out / "loss.png", curves, title="16 experts, 2 active, against a dense model: Python code")
    common.picture(args.out / "seconds.png", curves, "seconds", "the same against time", 1.0, "seconds of training")


if __name__ == "__main__":
    main()
