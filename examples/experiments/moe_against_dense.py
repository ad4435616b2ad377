#!/usr/bin/env python3
"""Claim a: a mixture of 16 experts reaches a dense model's loss with fewer operations and in less time, on completing Python code.

    python examples/experiments/moe_against_dense.py            the full setting
    python examples/experiments/moe_against_dense.py --small    seconds

Both models have the same layers but for the feed-forward part: the dense one's is 1024 wide, the mixture's are 16 experts of 256, two of which
are active. They read the same batches at the same constant learning rate; the loss is that of held-out files. Completions are the
rest of a line, by greedy search, compared with what the file says: exact match, and BLEU-4 of their tokens over all lines (smoothed by 1).
"""
import collections
import math
import random

import numpy as np

import common
import domains
import tenon


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


def main() -> None:
    args = common.arguments(__doc__.splitlines()[0], "moe_against_dense").parse_args()
    small = args.small
    length, batch = (32, 8) if small else (128, 16)
    steps = 12 if small else max(20, int(900 * args.scale))
    texts = domains.python_sources(60_000 if small else 4_000_000, args.seed)
    training, held = domains.split(texts, 0.1)
    tokenizer = common.tokenizer_of(training, 400 if small else 2000)
    rows = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, training, length)]
    check = [{"input_ids": ids, "labels": ids} for ids in domains.sequences(tokenizer, held, length)]
    random.Random(args.seed).shuffle(check)
    check = check[: 16 if small else args.check]
    print(f"{len(rows):,} sequences of {length} to learn from, {len(check)} to check with, vocabulary {len(tokenizer):,}")
    width, layers, heads, inner, expert = (32, 2, 2, 64, 16) if small else (128, 4, 4, 1024, 256)
    shape = dict(width=width, layers=layers, heads=heads, length=length, seed=args.seed)
    models = {"dense": common.dense(len(tokenizer), inner=inner, **shape), "16 experts": common.mixture(len(tokenizer), inner=expert, **shape)}
    models["16 experts"].set_routing(balance=0.01, z=0.001)
    curves, results = {}, []
    for name, model in models.items():
        curve = common.Curve(check, max(1, steps // 15), batch * length, length)
        trainer = common.train(model, rows, steps, batch, 1e-3 if small else 2e-3, args.seed, [curve])
        curves[name] = curve.points
        exact, score = completions(model, tokenizer, held, 20 if small else 2 * args.check, args.seed)
        logs = [e for e in trainer.state.log_history if "max_violation" in e]
        results.append({"model": name, "parameters": model.num_parameters(), "active": tenon.experts.active_parameters(model), "steps": steps,
                        "TFLOP": curve.flops / 1e12, "seconds": curve.seconds, "loss": curve.points[-1]["loss"], "exact match %": 100 * exact,
                        "BLEU": score, "MaxVio": logs[-1]["max_violation"] if logs else None, "dead experts": logs[-1]["dead_experts"] if logs else None})
        print(common.markdown(results[-1:]))
    goal = curves["dense"][-1]["loss"]
    own = {key: common.reached(curves["16 experts"], goal, key) for key in ("flops", "seconds", "step")}
    equal = {"dense loss": goal}
    for key in own:
        spent = curves["dense"][-1][key]
        equal[f"{key} dense"], equal[f"{key} experts"] = spent, own[key]
        equal[f"{key} saved %"] = None if own[key] is None else 100 * (1 - own[key] / spent)
    print(common.markdown([equal]))
    common.write(args.out, args, results, equal_loss=equal, curves=curves)
    common.picture(args.out / "loss.png", curves, title="16 experts, 2 active, against a dense model: Python code")
    common.picture(args.out / "seconds.png", curves, "seconds", "the same against time", 1.0, "seconds of training")


if __name__ == "__main__":
    main()
