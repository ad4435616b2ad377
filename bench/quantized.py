"""compare.py's models in 4 bits: what each runner does for a case. bench/make_quantized.py writes the models."""
import time

import numpy as np

import decoders

CASES = {"quantized": [f"{m}:{w}" for m in ("dense1b", "moe16") for w in ("prefill", "decode", "lookup")] + [f"deepseek-v2-lite:{w}" for w in ("prefill", "decode")]}
STEPS = 32
PATTERN = [11, 57, 900, 41, 7, 77, 1234, 5, 10, 345, 3021, 12]  # what a repetitive text repeats


def prepare(runner, case, models, threads, unable):
    name, what = case.split(":")
    if runner == "llamacpp":
        if what == "lookup" or not (models / f"{name}.gguf").exists():
            raise unable
        return llamacpp(str(models / f"{name}.gguf"), what, threads)
    return tenon(name, what, models, threads, runner == "tenon-bf16", unable)


def allow_tiles():
    """Asks Linux for AMX's tile registers, which a llama.cpp built for this processor (0.3.36's) uses without asking: it would end in SIGILL."""
    import ctypes
    import platform
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        ctypes.CDLL(None).syscall(158, 0x1023, 18)  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA); an error where there are none does no harm


def llamacpp(file, what, threads):
    import ctypes

    allow_tiles()
    import llama_cpp as lib
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(file.encode(), lib.llama_model_default_params())
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_threads, settings.n_threads_batch = 1024, 512, 512, threads, threads
    context = lib.llama_init_from_model(model, settings)
    memory, vocabulary = lib.llama_get_memory(context), lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rng = np.random.RandomState(0)

    def feed(tokens):
        array = (ctypes.c_int32 * len(tokens))(*map(int, tokens))
        if lib.llama_decode(context, lib.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama_decode failed")

    def prefill():
        lib.llama_memory_clear(memory, True)
        feed(rng.randint(0, vocabulary - 1, decoders.PROMPT))

    def decode():
        lib.llama_memory_clear(memory, True)
        feed(rng.randint(0, vocabulary - 1, decoders.PAST))
        start = time.perf_counter()
        for _ in range(STEPS):
            feed([rng.randint(0, vocabulary - 1)])
        return (time.perf_counter() - start) / STEPS
    return prefill if what == "prefill" else decode


def tenon(name, what, models, threads, wide, unable):
    import tenon
    folder = models / (name if wide else f"{name}-awq")
    if not folder.exists() or wide and what == "lookup":
        raise unable
    tenon.set_num_threads(threads)
    model = tenon.AutoModelForCausalLM.from_pretrained(str(folder), dtype="bfloat16")
    random = np.random.RandomState(0).randint(3, 30000, (1, decoders.PROMPT)).astype(np.int64)
    repeated = np.array([(PATTERN * 40)[:256]], np.int64)

    def generate(ids, n, **options):
        start = time.perf_counter()
        model.generate(input_ids=ids, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0, **options)
        return time.perf_counter() - start
    if what == "prefill":
        return lambda: generate(random, 1)
    if what == "lookup":
        options = dict(prompt_lookup_num_tokens=10)
        return lambda: (generate(repeated, 1 + STEPS, **options) - generate(repeated, 1)) / STEPS
    return lambda: (generate(random[:, :decoders.PAST], 1 + STEPS) - generate(random[:, :decoders.PAST], 1)) / STEPS
