"""Writes generation_steps.json: what transformers' generate() tells of its steps, and how it goes on from past_key_values.

    python make_generation_steps.py        needs torch and transformers 5.24

Of the attentions and hidden states of each step and layer the sums of squares of the last query stand there, for each row and head.
"""
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

HERE = pathlib.Path(__file__).resolve().parent
IDS = [[5, 17, 29, 80, 7, 9], [11, 8, 31, 64, 12, 40]]
PADDED = [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
CASES = [
    ("llama", {"attention_mask": PADDED}, {"max_new_tokens": 4}),
    ("llama", {}, {"max_new_tokens": 5, "num_beams": 3, "num_return_sequences": 2}),
    ("gpt2", {"attention_mask": PADDED}, {"max_new_tokens": 5, "num_beams": 2}),
    ("gpt2", {}, {"max_new_tokens": 3}),
    ("deepseek-v3", {}, {"max_new_tokens": 4}),
    ("marian", {}, {"max_new_tokens": 4}),
    ("t5", {}, {"max_new_tokens": 4, "num_beams": 3}),
]
FIELDS = ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states")


def opened(name):
    kind = AutoModelForSeq2SeqLM if name in ("marian", "t5", "m2m100") else AutoModelForCausalLM
    model = kind.from_pretrained(HERE / name, dtype=torch.float32, attn_implementation="eager").eval()
    model.generation_config.forced_eos_token_id = None
    return model


def squares(t):
    """(rows, heads, T, S) -> (rows, heads), (rows, T, C) -> (rows)"""
    return [[round(v, 5) for v in row] if isinstance(row, list) else round(row, 4) for row in t.select(-2, -1).pow(2).sum(-1).tolist()]


def steps_of(name, inputs, options):
    options = {**options, "do_sample": False, "eos_token_id": None, "pad_token_id": 0, "output_attentions": True, "output_hidden_states": True,
               "return_dict_in_generate": True}
    out = opened(name).generate(torch.tensor(IDS), **{k: torch.tensor(v) for k, v in inputs.items()}, **options)
    case = {"model": name, "input_ids": IDS, "inputs": inputs, "options": options, "sequences": out.sequences.tolist()}
    for field in FIELDS:
        if getattr(out, field, None) is not None:
            steps = getattr(out, field)
            case[field] = {"shapes": [list(step[0].shape) for step in steps], "squares": [[squares(layer) for layer in step] for step in steps]}
    for field in ("encoder_attentions", "encoder_hidden_states"):
        if getattr(out, field, None) is not None:
            case[field] = {"shapes": [list(layer.shape) for layer in getattr(out, field)]}
    return case


def past_of(name, inputs):
    """Two turns: the second goes on from the cache of the first."""
    model, options = opened(name), {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "return_dict_in_generate": True}
    mask = torch.tensor(inputs.get("attention_mask", [[1] * 6] * 2))
    first = model.generate(torch.tensor(IDS), attention_mask=mask, max_new_tokens=4, **options)
    length = first.past_key_values.get_seq_length()
    added = torch.tensor([[3, 44, 21], [9, 2, 13]])
    ids = torch.cat([first.sequences, added], -1)
    mask = torch.cat([mask, torch.ones(2, ids.shape[1] - mask.shape[1], dtype=mask.dtype)], -1)
    second = model.generate(ids, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=5, **options)
    return {"model": name, "input_ids": IDS, "inputs": inputs, "first": first.sequences.tolist(), "first_length": length, "added": added.tolist(),
            "second": second.sequences.tolist(), "second_length": second.past_key_values.get_seq_length()}


if __name__ == "__main__":
    result = {"steps": [steps_of(*case) for case in CASES],
              "past": [past_of("llama", {"attention_mask": PADDED}), past_of("gpt2", {"attention_mask": PADDED}), past_of("deepseek-v3", {})]}
    (HERE / "generation_steps.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
