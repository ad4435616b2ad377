"""compare.py's decoders and mixtures of experts: what each runner does for a case. bench/make_decoders.py writes the models."""
import json
import pathlib
import re
import struct
import subprocess
import time

import numpy as np

import devices

CASES = {
    "decoder": [f"{m}:{w}:{p}" for m in ("dense1b", "moe16") for w in ("prefill", "decode") for p in ("bf16", "int8")],
    "engine": [f"dense1b:{w}:{p}" for w in ("together", "apart") for p in ("bf16", "int8")],
    "moe": [f"wide:16x2:{p}" for p in ("f32", "bf16", "int8")] + [f"wide:16x{k}:bf16" for k in (3, 4, 6, 8)]
    + [f"narrow:{e}x2:bf16" for e in (8, 16, 64, 256)],
}
PROMPT, PAST, STEPS = 512, 64, 16
USERS, ASKED, WRITTEN = 8, 64, 32  # prompts of different beginnings, tokens of each and of its answer
LAYERS = {"wide": (2048, 4096), "narrow": (1024, 1024)}  # width, width of an expert: 256 wide ones need 26 GB in float32
TOKENS = 8192 if devices.ON_GPU else 512


def find_program():
    """The newest tenon_bench_decoder below build/, or None."""
    built = pathlib.Path(__file__).resolve().parents[1].glob("build/**/tenon_bench_decoder")
    return max((p for p in built if p.is_file()), key=lambda p: p.stat().st_mtime, default=None)


def measured_limits(program):
    """What the machine can do just now: FLOP/s in bf16 and int8, and bytes/s of reading memory."""
    line = subprocess.run([str(program), "limits"], capture_output=True, text=True, check=True).stdout
    _, bf16, int8, read = re.search(r": ([\d.]+) / ([\d.]+) / ([\d.]+) GFLOP/s .*, ([\d.]+) GB/s", line).groups()
    return {"bf16": float(bf16) * 1e9, "int8": float(int8) * 1e9, "read": float(read) * 1e9}


def weights_of(folder):
    """Weights that one token meets: of the layers, of which those of the experts that are chosen, and of the head."""
    config, layers, head, table = json.loads((folder / "config.json").read_text()), 0, 0, 0
    chosen = config.get("num_experts_per_tok", 0) / max(1, config.get("num_local_experts", 1))
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        for name, entry in header.items():
            if name == "__metadata__" or len(entry["shape"]) != 2:
                continue
            n = int(np.prod(entry["shape"]))
            if "embed_tokens" in name:
                table = n
            elif "lm_head" in name:
                head = n
            else:
                layers += n * (chosen if ".experts." in name else 1)
    return layers, head or table


def share(case, ms, limits, models):
    """What a case of `decoder` reaches of the machine's limits: a line that names both."""
    name, what, precision = case.split(":")
    layers, head = weights_of(models / name)
    if what == "prefill":  # the head sees the last token alone; the products of attention are not counted
        reached, limit, unit = 2 * layers * PROMPT / ms * 1e3, limits[precision], f"GFLOP/s in {precision}"
    else:
        reached, limit, unit = (layers + head) * (2 if precision == "bf16" else 1) / ms * 1e3, limits["read"], "GB/s of weights read"
    return f"{100 * reached / limit:5.1f} %: {reached / 1e9:.1f} of {limit / 1e9:.1f} {unit}"


def prepare(task, runner, case, models, threads, unable):
    """A function that does the work of one case once; what it returns, if anything, is its time in seconds."""
    return dict(decoder=decoder, engine=engine, moe=moe)[task](runner, case, models, threads, unable)


def decoder(runner, case, models, threads, unable):
    name, what, precision = case.split(":")
    ids = np.random.RandomState(0).randint(3, 30000, (1, PROMPT)).astype(np.int64)
    if runner == "torch":
        import torch
        import transformers
        if precision == "int8":
            raise unable
        torch.set_num_threads(threads)
        model = transformers.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.bfloat16).eval().to(devices.NAME)
        given = torch.tensor(ids).to(devices.NAME)

        def prefill():
            with torch.inference_mode():
                model(input_ids=given, use_cache=True, logits_to_keep=1)
            devices.finished(torch)

        def decode():
            with torch.inference_mode():
                out = model(input_ids=given[:, :PAST], use_cache=True, logits_to_keep=1)
                devices.finished(torch)
                start = time.perf_counter()
                for i in range(STEPS):
                    out = model(input_ids=given[:, PAST + i:PAST + i + 1], past_key_values=out.past_key_values, use_cache=True)
                devices.finished(torch)
                return (time.perf_counter() - start) / STEPS
        return prefill if what == "prefill" else decode
    import tenon
    tenon.set_num_threads(threads)
    kind = dict(quantization_config=tenon.Int8Config()) if precision == "int8" else dict(dtype="bfloat16")
    model = tenon.AutoModelForCausalLM.from_pretrained(str(models / name), device=devices.NAME, **kind)

    def generate(prompt, n):
        start = time.perf_counter()
        model.generate(input_ids=ids[:, :prompt], max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
        return time.perf_counter() - start
    return (lambda: generate(PROMPT, 1)) if what == "prefill" else (lambda: (generate(PAST, 1 + STEPS) - generate(PAST, 1)) / STEPS)


def engine(runner, case, models, threads, unable):
    """Eight users at once, or one after another. torch: transformers' generate() with the eight as one batch, or one by one."""
    name, what, precision = case.split(":")
    prompts = np.random.RandomState(0).randint(3, 30000, (USERS, ASKED)).astype(np.int64)
    exact = dict(max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False, pad_token_id=0)
    if runner == "torch":
        import torch
        import transformers
        if precision == "int8":
            raise unable
        torch.set_num_threads(threads)
        model = transformers.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.bfloat16).eval()

        def run():
            for batch in [prompts] if what == "together" else prompts[:, None]:
                ids = torch.tensor(batch)
                model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **exact)
        return run
    import tenon
    tenon.set_num_threads(threads)
    kind = dict(quantization_config=tenon.Int8Config()) if precision == "int8" else dict(dtype="bfloat16")
    users = tenon.Engine(tenon.AutoModelForCausalLM.from_pretrained(str(models / name), **kind), share_prefixes=False)

    def serve():
        requests = []
        for prompt in prompts:
            requests.append(users.submit(prompt.tolist(), **exact))
            if what == "apart":
                requests[-1].result()
        for request in requests:
            request.result()
    return serve


def moe(runner, case, models, threads, unable):
    kind, size, precision = case.split(":")
    hidden, inner = LAYERS[kind]
    experts, active = map(int, size.split("x"))
    x = np.random.RandomState(0).randn(1, TOKENS, hidden).astype(np.float32)
    if runner == "torch":
        import torch
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
        if precision == "int8":
            raise unable
        torch.set_num_threads(threads)
        config = MixtralConfig(hidden_size=hidden, intermediate_size=inner, num_local_experts=experts, num_experts_per_tok=active)
        config._experts_implementation = "eager"
        layer = MixtralSparseMoeBlock(config).eval()
        for p in layer.parameters():
            torch.nn.init.normal_(p, std=0.02)
        dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[precision]
        layer, given = layer.to(devices.NAME, dtype), torch.tensor(x).to(devices.NAME, dtype)

        def run():
            with torch.inference_mode():
                layer(given)
            devices.finished(torch)
        return run
    import tenon
    tenon.set_num_threads(threads)
    layer = tenon.MixtureOfExperts(hidden, inner, experts, active, dtype=dict(f32="float32", bf16="bfloat16", int8="int8")[precision])
    given = tenon.as_tensor(x)
    given = given if precision == "f32" else given.to(tenon.bfloat16)
    if devices.ON_GPU:
        layer, given = layer.to(devices.NAME), given.to(devices.NAME)

    def forward():
        layer(given)
        devices.finished(tenon)
    return forward
