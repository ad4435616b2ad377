"""Writes generation.json: what transformers' generate() and its logits processors do with a model that is a formula.

    python make_generation.py        needs torch and transformers 5.24

The logits after tokens (.., a, b) are hash(a, b, v) for each token v, between -4 and 4 and exact in float32, so that the C++ tests
compute the same model. The first token of a text has no token before it: a is the size of the vocabulary.
"""
import json
import pathlib

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PretrainedConfig, PreTrainedModel
from transformers.generation import logits_process as rules
from transformers.modeling_outputs import CausalLMOutput

V = 24
EOS = 5
MASK = 0xFFFFFFFF


def mix(x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & MASK
    return x ^ (x >> 16)


def logit(a, b, v):
    return (mix(a * 8191 + b * 127 + v + 1) >> 8) * 2.0**-21 - 4


def row(a, b):
    return [logit(a, b, v) for v in range(V)]


class FormulaConfig(PretrainedConfig):
    model_type = "formula"

    def __init__(self, vocab_size=V, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.num_hidden_layers = 1


class FormulaForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = FormulaConfig

    def __init__(self, config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask=None, **kwargs):
        ids = input_ids.tolist()
        mask = torch.ones_like(input_ids).tolist() if attention_mask is None else attention_mask.tolist()
        rows = []
        for text, kept in zip(ids, mask):
            real = [V] + [t for t, k in zip(text, kept) if k]
            rows.append([row(real[-2], real[-1])])
        return CausalLMOutput(logits=torch.tensor(rows))


PROMPTS = {
    "one": ([[3, 7, 1]], None),
    "three": ([[3, 7, 1, 9], [2, 8, 8, 4], [11, 6, 3, 2]], None),
    "padded": ([[3, 7, 1, 9], [0, 0, 8, 4], [0, 6, 3, 2]], [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]),
    "pattern": ([[3, 7, 1, 3, 7, 1, 3, 7]], None),
}
SPECIAL = dict(eos_token_id=EOS, pad_token_id=0)
GENERATE = [
    ("one", dict(max_new_tokens=12)),
    ("one", dict(max_length=9)),
    ("one", dict()),
    ("three", dict(max_new_tokens=20)),
    ("padded", dict(max_new_tokens=20)),
    ("padded", dict(max_new_tokens=20, eos_token_id=[5, 9, 13])),
    ("three", dict(max_new_tokens=14, pad_token_id=None)),
    ("padded", dict(max_new_tokens=16, repetition_penalty=1.7)),
    ("padded", dict(max_new_tokens=16, repetition_penalty=0.6, no_repeat_ngram_size=2)),
    ("three", dict(max_new_tokens=16, no_repeat_ngram_size=3)),
    ("three", dict(max_new_tokens=16, bad_words_ids=[[7], [8, 4], [1, 2, 3], [5]])),
    ("three", dict(max_new_tokens=16, min_new_tokens=9, eos_token_id=[5, 9])),
    ("three", dict(max_new_tokens=16, min_length=12, eos_token_id=[5, 9])),
    ("three", dict(max_new_tokens=9, forced_eos_token_id=[5, 6])),
    ("three", dict(max_new_tokens=12, suppress_tokens=[1, 2, 3, 4], begin_suppress_tokens=[8, 9, 10, 11, 12])),
    ("three", dict(max_new_tokens=20, exponential_decay_length_penalty=(4, 1.3))),
    ("three", dict(max_new_tokens=12, sequence_bias=[[[7], 2.5], [[8, 4], -3.0], [[1], -10.0]])),
    ("three", dict(max_new_tokens=12, guidance_scale=1.5)),
    ("three", dict(max_new_tokens=10, renormalize_logits=True)),
    ("one", dict(max_new_tokens=12, num_beams=3)),
    ("three", dict(max_new_tokens=20, num_beams=3)),
    ("padded", dict(max_new_tokens=20, num_beams=4)),
    ("padded", dict(max_new_tokens=20, num_beams=4, num_return_sequences=3)),
    ("padded", dict(max_new_tokens=20, num_beams=4, num_return_sequences=4, early_stopping=True)),
    ("padded", dict(max_new_tokens=20, num_beams=4, num_return_sequences=2, early_stopping="never")),
    ("padded", dict(max_new_tokens=20, num_beams=4, length_penalty=2.0)),
    ("padded", dict(max_new_tokens=20, num_beams=4, length_penalty=0.0, early_stopping="never")),
    ("padded", dict(max_new_tokens=20, num_beams=4, length_penalty=-1.5, num_return_sequences=2)),
    ("padded", dict(max_new_tokens=20, num_beams=3, length_penalty=1.5, early_stopping=True, eos_token_id=[5, 9, 13], num_return_sequences=3)),
    ("padded", dict(max_new_tokens=20, num_beams=5, eos_token_id=[5, 9], pad_token_id=2, num_return_sequences=5)),
    ("three", dict(max_new_tokens=16, num_beams=3, repetition_penalty=1.5, no_repeat_ngram_size=2, min_new_tokens=6)),
    ("three", dict(max_new_tokens=9, num_beams=3, forced_eos_token_id=6)),
    ("three", dict(max_new_tokens=12, num_beams=2, bad_words_ids=[[7], [8, 4]], sequence_bias=[[[3], 1.5]], renormalize_logits=True)),
    ("three", dict(max_new_tokens=6, num_beams=2, num_return_sequences=2)),
    ("pattern", dict(max_new_tokens=14)),
    ("pattern", dict(max_new_tokens=14, no_repeat_ngram_size=4, repetition_penalty=1.1)),
]


def generations(model):
    cases = []
    for prompt, options in GENERATE:
        ids, mask = PROMPTS[prompt]
        arguments = {**SPECIAL, **options}
        config = GenerationConfig(**arguments, use_cache=False, output_scores=True, return_dict_in_generate=True)
        mask_argument = {} if mask is None else {"attention_mask": torch.tensor(mask)}
        output = model.generate(torch.tensor(ids), generation_config=config, **mask_argument)
        case = {"prompt": prompt, "options": arguments, "sequences": output.sequences.tolist()}
        if "num_beams" in options:
            case["sequences_scores"] = output.sequences_scores.tolist()
            case["beam_indices"] = output.beam_indices.tolist()
        case["last_scores"] = [[None if x == float("-inf") else x for x in r] for r in output.scores[-1].tolist()]
        cases.append(case)
    return cases


IDS = [[3, 7, 1, 3, 7], [2, 2, 9, 2, 2]]
ENCODER = [[4, 4, 9, 11], [7, 1, 2, 2]]


def processors():
    scores = torch.tensor([row(3, 7), row(2, 2)])
    banned = scores.clone()
    banned[:, ::3] = float("-inf")
    odd = scores.clone()
    odd[0, 3], odd[1, 4], odd[1, 5] = float("nan"), float("inf"), float("-inf")
    ids, encoder = torch.tensor(IDS), torch.tensor(ENCODER)
    made = [
        ("repetition_penalty", scores, rules.RepetitionPenaltyLogitsProcessor(1.4)),
        ("repetition_penalty_padded", scores, rules.RepetitionPenaltyLogitsProcessor(1.4, prompt_ignore_length=torch.tensor([0, 2]))),
        ("encoder_repetition_penalty", scores, rules.EncoderRepetitionPenaltyLogitsProcessor(1.6, encoder)),
        ("sequence_bias", scores, rules.SequenceBiasLogitsProcessor([[[5], 2.0], [[7, 9], -1.5], [[3, 7, 9], 0.25], [[4, 2], 9.0]])),
        ("exponential_decay", scores, rules.ExponentialDecayLengthPenalty((1, 1.2), [5, 9], 2)),
        ("no_repeat_ngram_1", scores, rules.NoRepeatNGramLogitsProcessor(1)),
        ("no_repeat_ngram_2", scores, rules.NoRepeatNGramLogitsProcessor(2)),
        ("no_repeat_ngram_3", scores, rules.NoRepeatNGramLogitsProcessor(3)),
        ("encoder_no_repeat_ngram", scores, rules.EncoderNoRepeatNGramLogitsProcessor(2, encoder)),
        ("bad_words", scores, rules.NoBadWordsLogitsProcessor([[7], [7, 9], [2, 2, 11], [5]], [5])),
        ("min_length", scores, rules.MinLengthLogitsProcessor(6, [5, 9])),
        ("suppress_tokens", scores, rules.SuppressTokensLogitsProcessor([1, 2])),
        ("suppress_tokens_at_begin", scores, rules.SuppressTokensAtBeginLogitsProcessor([1, 2], 5)),
        ("prefix_allowed_tokens", banned, rules.PrefixConstrainedLogitsProcessor(lambda i, s: [0, 3, 6] if i == 0 else [1, int(s[-1])], 1)),
        ("remove_invalid_values", odd, rules.InfNanRemoveLogitsProcessor()),
        ("temperature", scores, rules.TemperatureLogitsWarper(0.7)),
        ("top_k", scores, rules.TopKLogitsWarper(5)),
        ("top_p", scores, rules.TopPLogitsWarper(0.8)),
        ("top_p_banned", banned, rules.TopPLogitsWarper(0.5, min_tokens_to_keep=3)),
        ("min_p", scores, rules.MinPLogitsWarper(0.1)),
        ("min_p_keep", scores, rules.MinPLogitsWarper(0.9, min_tokens_to_keep=4)),
        ("top_h", scores, rules.TopHLogitsWarper(0.6)),
        ("top_h_banned", banned, rules.TopHLogitsWarper(0.4)),
        ("typical_p", scores, rules.TypicalLogitsWarper(0.6)),
        ("typical_p_banned", banned, rules.TypicalLogitsWarper(0.3, min_tokens_to_keep=2)),
        ("epsilon_cutoff", scores, rules.EpsilonLogitsWarper(0.04)),
        ("epsilon_cutoff_keep", scores, rules.EpsilonLogitsWarper(0.4, min_tokens_to_keep=3)),
        ("eta_cutoff", scores, rules.EtaLogitsWarper(0.1)),
        ("renormalize", banned, rules.LogitNormalization()),
    ]
    cases = {}
    for name, given, rule in made:
        after = LogitsProcessorList([rule])(ids, given.clone())
        cases[name] = [[None if x == float("-inf") else x for x in r] for r in after.tolist()]
    return cases


def main():
    model = FormulaForCausalLM(FormulaConfig()).eval()
    result = {"transformers": transformers.__version__, "vocab_size": V, "prompts": PROMPTS, "generate": generations(model),
              "processor_ids": IDS, "encoder_ids": ENCODER, "processors": processors()}
    text = json.dumps(result).replace('{"prompt"', '\n{"prompt"')
    pathlib.Path(__file__).with_name("generation.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
