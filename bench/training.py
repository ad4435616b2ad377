"""The training cases of compare.py: one step (forward, backward, AdamW, gradients set to none) with the same lines for torch and Tenon."""

import devices

CASES = {"train": [f"{m}:{p}" for m in ("distilbert", "mixtral") for p in ("f32", "bf16")]}
MIXTRAL = dict(vocab_size=8192, hidden_size=512, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=8,
               num_local_experts=16, num_experts_per_tok=2, max_position_embeddings=512, output_router_logits=True)


def prepare(runner, case, threads):
    """A function that does one step. bf16 is autocast in both: float32 parameters, products of bfloat16."""
    import numpy as np
    name, precision = case.split(":")
    rng = np.random.RandomState(0)
    if name == "distilbert":
        ids = rng.randint(1000, 30000, (8, 128)).astype(np.int64)
        batch = dict(input_ids=ids, attention_mask=np.ones_like(ids), labels=rng.randint(0, 2, 8).astype(np.int64))
    else:
        ids = rng.randint(0, MIXTRAL["vocab_size"], (8, 256)).astype(np.int64)
        batch = dict(input_ids=ids, labels=ids)
    if runner == "torch":
        import torch as lib
        import transformers
    else:
        import tenon as lib
        transformers = lib
    lib.set_num_threads(threads)
    if name == "distilbert":
        model = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig())
    else:
        model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**MIXTRAL))
    model.to(devices.NAME).train()
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-4)
    batch = {k: lib.tensor(v).to(devices.NAME) for k, v in batch.items()}

    def run():
        with lib.autocast(devices.NAME, dtype=lib.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        devices.finished(lib)
    return run
