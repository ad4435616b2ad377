"""Compares Tenon with Hugging Face `tokenizers` on random strings: ids, offsets, words, masks, decoding. Zero differences is the aim.

    python tests/python/fuzz_tokenizers.py [--count 100000] [--seed 1] [--kinds wordpiece,unigram] [FOLDER_OR_FILE ...]

Without folders the kinds are small tokenizers trained here, one per model and common pipeline, and `pipelines`: random stages in
front of and behind those models. A folder or tokenizer.json is compared as it is written; for other formats the tokenizer.json that
Tenon makes of them is what `tokenizers` reads. Differences are printed, the shortest strings first; the exit status is their number.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import sys
from typing import Any, Callable, Iterator

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["RUST_BACKTRACE"] = "0"
import tokenizers  # noqa: E402
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

from tenon import _core  # noqa: E402

CORPUS = (
    "The quick brown fox jumps over the lazy dog, and it's don't we'll they've I'm you're he'd.\n"
    "def main(argv):\n    return [int(x) for x in argv[1:]]  # 3.14159 + 2,718\n"
    "El ni\u00f1o comi\u00f3 pi\u00f1a en la ma\u00f1ana; \u00bfqu\u00e9 tal? \u00a1Hola! Stra\u00dfe, \u0152uvre, na\u00efve caf\u00e9.\n"
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u042f \u043b\u044e\u0431\u043b\u044e \u0447\u0438\u0442\u0430\u0442\u044c \u043a\u043d\u0438\u0433\u0438.\n"
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002\ud55c\uad6d\uc5b4 \ubb38\uc7a5.\n"
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22.\n"
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f 1,234.56 100% #tag @user https://a.b/c?d=e&f=g x_y z-w\t\ttabs  two   three\r\n"
) * 8

# ranges that tokenizers get wrong: (first, last)
RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x00, 0x20), (0x7F, 0xA0), (0xA1, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x9E6, 0x9EF), (0xBF0, 0xBFA), (0xE00, 0xE5B), (0xF00, 0xFDA), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1680, 0x169C), (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1C80, 0x1C8A), (0x1D00, 0x1DBF), (0x1DC0, 0x1DFF),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x209C), (0x20A0, 0x20C1), (0x20D0, 0x20F0), (0x2100, 0x218B), (0x2190, 0x23FF), (0x2460, 0x24FF),
    (0x2580, 0x27BF), (0x2C00, 0x2C7F), (0x2E00, 0x2E5D), (0x2E80, 0x2FD5), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3130, 0x318E), (0x3300, 0x33FF),
    (0x3400, 0x34FF), (0x4E00, 0x9FFF), (0x4E00, 0x4EFF), (0xA640, 0xA69F), (0xA720, 0xA7FF), (0xA8E0, 0xA8FF), (0xAB30, 0xAB6F), (0xAC00, 0xD7A3),
    (0xD7B0, 0xD7FB), (0xE000, 0xE0FF), (0xF8F0, 0xF8FF), (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFB50, 0xFDFF), (0xFE00, 0xFE0F), (0xFE20, 0xFE6F),
    (0xFE70, 0xFEFF), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF), (0x10000, 0x100FF), (0x10280, 0x1031F), (0x10400, 0x1044F), (0x10A00, 0x10A58),
    (0x10D40, 0x10D8F), (0x11000, 0x1107F), (0x11130, 0x1113F), (0x16A60, 0x16ABF), (0x16D40, 0x16D7F), (0x1D100, 0x1D1FF), (0x1D400, 0x1D7FF), (0x1DF00, 0x1DF2A),
    (0x1E900, 0x1E95F), (0x1EE00, 0x1EEF1), (0x1F000, 0x1F0FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x1FBF0, 0x1FBF9), (0x20000, 0x200FF), (0x2A6D0, 0x2A700),
    (0x2F800, 0x2FA1D), (0x30000, 0x3134A), (0x31350, 0x323AF), (0xE0000, 0xE007F), (0xE0100, 0xE01EF), (0xF0000, 0xF00FF), (0x10FF00, 0x10FFFF),
]
SPACES = [" ", " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\x0b", "\x0c",
          "\x1c", "\x1f", "\x85", "\u180e", "\u200b", "\u2060", "\ufeff", "\u2581", "\u0120", "\u010a"]
ODD = ["\u200d", "\u200c", "\ufe0f", "\ufe0e", "\u0301", "\u0300\u0301", "e\u0301\u0323", "\u0345", "\u1e9e", "\u0130", "\u0131", "\u03a3", "\u03c2", "\u0149", "\ufb03", "\u01c5",
       "\u1fb3", "\ufdfa", "\u2126", "\u212b", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0344", "\u0f73", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\uffff", "\x00", "\x7f", "\xad",
       "\u202e", "\u2066", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f4\U000e0067\U000e0062", "\U0001f1e9\U0001f1ea", "\u0e33", "\u0eb3", "\u0958", "\u2adc",
       "\U0001d15e", "\u3099", "\u309a", "\uff9e", "\uff76\uff9e", "'", "'s", "'S", "'LL", "\u2019s", "'\u017f", "\u017f", "\u212a", "##", "</w>", "<0x41>", "<0xE2>", "<unk>", "\u2581\u2581",
       "100", "2024", "\u0661\u0662", "\u0967", "\u00b2", "\u00bd", "\u2167", "\u3007", "\u4e00", "\U0001d7ce", "_", "__", "-", "--", "...", "@@", "$", "\u20ac", "^", "`", "\u00b4", "~", "|", "<", ">", "=", "+"]


def pieces(specials: list[str]) -> list[Callable[[random.Random], str]]:
    """The makers of parts of a string."""
    words = CORPUS.split()

    def from_range(r: random.Random) -> str:
        a, b = r.choice(RANGES)
        return "".join(chr(r.randint(a, b)) for _ in range(r.choice((1, 1, 2, 3, 6))))

    def fragment(r: random.Random) -> str:
        token = r.choice(specials) if specials else "<s>"
        return r.choice((token, token, " " + token, token + " ", token[: r.randint(1, len(token))], token[r.randint(0, len(token) - 1):], token.upper(), token * 2))

    def any_character(r: random.Random) -> str:
        c = r.randint(0, 0x10F7FF)
        return chr(c if c < 0xD800 else c + 0x800)

    def cut(r: random.Random) -> str:
        at = r.randrange(len(CORPUS))
        return CORPUS[at: at + r.randint(1, 30)]

    return [from_range, from_range, from_range, lambda r: r.choice(words), lambda r: r.choice(words).upper(), lambda r: r.choice(SPACES), lambda r: r.choice(SPACES) * r.randint(1, 9),
            lambda r: r.choice(ODD), lambda r: r.choice(ODD) + r.choice(ODD), fragment, any_character, cut, lambda r: str(r.randrange(10 ** r.randint(1, 12))),
            lambda r: r.choice("abcAB1 \u4e00\u00e9.") * r.randint(2, 40), lambda r: r.choice(words) + r.choice("\u0301\u0308\u200d\ufe0f\u00ad'")]


def strings(seed: int, count: int, specials: list[str]) -> Iterator[str]:
    """Random strings; the same ones for the same seed."""
    r = random.Random(seed)
    makers = pieces(specials)
    for _ in range(count):
        s = "".join(r.choice(makers)(r) for _ in range(r.choice((1, 1, 2, 2, 3, 4, 6, 10, 20))))
        yield "".join(c for c in s if not "\ud800" <= c <= "\udfff")


# Small tokenizers of every kind
def train(model: Any, trainer: Any, normalizer: Any = None, pre: Any = None, decoder: Any = None, post: Any = None) -> dict[str, Any]:
    t = tokenizers.Tokenizer(model)
    if normalizer is not None:
        t.normalizer = normalizer
    if pre is not None:
        t.pre_tokenizer = pre
    if decoder is not None:
        t.decoder = decoder
    t.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    if post is not None:
        t.post_processor = post(t)
    return json.loads(t.to_str())


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LLAMA = ["<unk>", "<s>", "</s>"]
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = CL100K_PATTERN.replace("{1,3}", "")
O200K_PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_PATTERN = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def template(*names: str) -> Callable[[Any], Any]:
    """[first] $A [last] for texts and pairs."""
    first, last = names

    def make(t: Any) -> Any:
        return processors.TemplateProcessing(single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1",
                                             special_tokens=[(n, t.token_to_id(n)) for n in dict.fromkeys(names)])

    return make


def byte_level(pattern: "str | None", normalizer: Any = None, digits: bool = False) -> dict[str, Any]:
    steps = [pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(tokenizers.Regex("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), "isolated")] if digits else []
    if pattern:
        steps.append(pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"))
    pre = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern)])
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    return train(models.BPE(), trainer, normalizer, pre, decoders.ByteLevel(), lambda t: processors.ByteLevel(trim_offsets=False))


def wordpiece(lower: bool) -> dict[str, Any]:
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=BERT, show_progress=False)
    return train(models.WordPiece(unk_token="[UNK]"), trainer, normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(), template("[CLS]", "[SEP]"))


def roberta() -> dict[str, Any]:
    t = byte_level(None)
    t["post_processor"] = {"type": "RobertaProcessing", "sep": ["<|im_end|>", 2], "cls": ["<|im_start|>", 1], "trim_offsets": True, "add_prefix_space": False}
    return t


def llama(legacy: bool) -> dict[str, Any]:
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=LLAMA, show_progress=False)
    pre = None if legacy else pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t = train(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True), trainer, normalizers.Replace(" ", "\u2581"), pre, None, template("<s>", "</s>"))
    vocab = {token: i for i, token in enumerate([*LLAMA, *(f"<0x{b:02X}>" for b in range(256))])}
    for token in t["model"]["vocab"]:
        vocab.setdefault(token, len(vocab))
    t["model"]["vocab"] = vocab
    t["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]} if legacy else None
    t["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return t


def clip() -> dict[str, Any]:
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()])
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(CLIP_PATTERN), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t = train(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"), trainer, normalizer, pre, decoders.ByteLevel())
    t["post_processor"] = {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 1], "cls": ["<|startoftext|>", 0], "trim_offsets": False, "add_prefix_space": False}
    return t


def unigram(byte_fallback: bool) -> dict[str, Any]:
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    t = train(models.Unigram(), trainer, normalizer, pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace(), template("<pad>", "</s>"))
    if byte_fallback:
        t["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0 - b / 100] for b in range(256)]
        t["model"]["byte_fallback"] = True
    return t


def word_level() -> dict[str, Any]:
    trainer = trainers.WordLevelTrainer(vocab_size=400, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    return train(models.WordLevel(unk_token="[UNK]"), trainer, normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]), pre_tokenizers.Whitespace(), None, template("[CLS]", "[SEP]"))


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "wordpiece": lambda: wordpiece(True), "wordpiece-cased": lambda: wordpiece(False), "gpt2": lambda: byte_level(None), "gpt2-split": lambda: byte_level(GPT2_PATTERN), "roberta": roberta,
    "cl100k": lambda: byte_level(CL100K_PATTERN), "qwen2": lambda: byte_level(QWEN2_PATTERN, normalizers.NFC()), "o200k": lambda: byte_level(O200K_PATTERN),
    "deepseek": lambda: byte_level(DEEPSEEK_PATTERN, digits=True), "llama": lambda: llama(True), "llama-metaspace": lambda: llama(False), "clip": clip,
    "unigram": lambda: unigram(False), "unigram-bytes": lambda: unigram(True), "wordlevel": word_level,
}

# Random pipelines
NORMALIZERS: list[Any] = [
    None, {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Nmt"},
    {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, {"type": "Replace", "pattern": {"Regex": "[aeiou]+"}, "content": "<>"},
    {"type": "Replace", "pattern": {"Regex": "\\s{2,}"}, "content": " "}, {"type": "Replace", "pattern": {"String": "''"}, "content": ""}, {"type": "ByteLevel"},
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": True, "strip_accents": True, "lowercase": False},
]
PRE_TOKENIZERS: list[Any] = [
    None, {"type": "BertPreTokenizer"}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
    {"type": "UnicodeScripts"}, {"type": "CharDelimiterSplit", "delimiter": "-"},
    *({"type": "Punctuation", "behavior": b} for b in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")),
    *({"type": "ByteLevel", "add_prefix_space": a, "trim_offsets": True, "use_regex": u} for a in (True, False) for u in (True, False)),
    *({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": p, "split": s} for p in ("always", "first", "never") for s in (True, False)),
    *({"type": "Split", "pattern": p, "behavior": b, "invert": i} for p in ({"Regex": "\\s+"}, {"Regex": "\\p{L}+|\\d"}, {"String": " "}, {"String": "'"})
      for b in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (True, False)),
]
DECODERS: list[Any] = [
    None, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "WordPiece", "prefix": "##", "cleanup": False},
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True},
    {"type": "BPEDecoder", "suffix": "</w>"}, {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "Strip", "content": " ", "start": 1, "stop": 1},
]
POST_PROCESSORS: list[Any] = [
    "as trained", None, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
    {"type": "RobertaProcessing", "sep": ["a", 5], "cls": ["b", 6], "trim_offsets": True, "add_prefix_space": True}, {"type": "BertProcessing", "sep": ["a", 5], "cls": ["b", 6]},
]


def some(r: random.Random, table: list[Any], key: str) -> Any:
    """None, one stage, or a Sequence of several."""
    chosen = [s for s in (r.choice(table) for _ in range(r.choice((1, 1, 2, 3)))) if s]
    if len(chosen) < 2:
        return chosen[0] if chosen else None
    return {"type": "Sequence", key: chosen}


def random_pipeline(seed: int, trained: list[dict[str, Any]]) -> dict[str, Any]:
    """A trained model with random stages, flags and added tokens."""
    r = random.Random(seed)
    t = json.loads(json.dumps(r.choice(trained)))
    t["normalizer"] = some(r, NORMALIZERS, "normalizers")
    t["pre_tokenizer"] = some(r, PRE_TOKENIZERS, "pretokenizers")
    t["decoder"] = some(r, DECODERS, "decoders")
    post = r.choice(POST_PROCESSORS)
    if post != "as trained":
        t["post_processor"] = post
    for token in t["added_tokens"]:
        token.update(lstrip=r.random() < 0.2, rstrip=r.random() < 0.2, single_word=r.random() < 0.2, normalized=r.random() < 0.3)
    size = max(len(t["model"]["vocab"]), 1 + max((a["id"] for a in t["added_tokens"]), default=0))
    for content in r.sample(["Caf\u00e9", "brown fox", "  ", "don", "\u4f60", "<x>", "1", "\u0130", "THE", "- -", "e\u0301"], r.randint(0, 4)):
        if not isinstance(t["model"]["vocab"], dict) or content not in t["model"]["vocab"]:
            t["added_tokens"].append({"id": size, "content": content, "single_word": r.random() < 0.3, "lstrip": r.random() < 0.3, "rstrip": r.random() < 0.3, "normalized": r.random() < 0.6 and not content.isspace(), "special": r.random() < 0.3})
            size += 1
    if t["model"]["type"] == "BPE" and r.random() < 0.3:
        t["model"]["ignore_merges"] = True
    if t["model"]["type"] == "BPE" and r.random() < 0.2:
        t["model"]["fuse_unk"] = not t["model"]["fuse_unk"]
    return t


# Comparing
LARGE_BATCH = 40000  # characters; above the engine's own limit
FIELDS = ("ids", "offsets", "word_ids", "type_ids", "special_tokens_mask", "attention_mask", "sequence_ids")


class Comparison:
    """One tokenizer in both libraries."""

    def __init__(self, description: str, name: str) -> None:
        self.name = name
        self.theirs = tokenizers.Tokenizer.from_str(description)
        self.theirs.no_padding()
        self.theirs.no_truncation()
        self.ours = _core.Tokenizer.from_json(description)
        self.specials = [t.content for t in self.theirs.get_added_tokens_decoder().values()]
        self.size = self.theirs.get_vocab_size(with_added_tokens=True)
        self.differences: list[tuple[str, str, Any, Any]] = []
        self.checked = self.panics = 0

    def differ(self, what: str, given: str, ours: Any, theirs: Any) -> None:
        self.differences.append((given, what, ours, theirs))

    def unless_it_panics(self, call: Callable[[], Any]) -> Any:
        """The reference's answer, or None where it has none."""
        try:
            return call()
        except BaseException as e:
            if type(e).__name__ != "PanicException":
                raise
            self.panics += 1
            return None

    def run(self, texts: list[str], seed: int) -> None:
        """Compares on each text alone, as a pair with its neighbour, decoded, and on random ids."""
        options = _core.EncodeOptions()
        for first, second in ((texts, None), (texts[::7], texts[3::7][: len(texts[::7])])):
            if second is not None:
                first = first[: len(second)]
            ours = self.ours.encode_batch(first, second, options)
            if second is None:
                self.compare_ids(first, ours)
            given_to_them = first if second is None else list(zip(first, second))
            theirs = self.unless_it_panics(lambda: self.theirs.encode_batch(given_to_them))
            if theirs is None:
                theirs = [self.unless_it_panics(lambda: self.theirs.encode(t) if second is None else self.theirs.encode(*t)) for t in given_to_them]
            for i, (a, b) in enumerate(zip(ours, theirs)):
                if b is None:
                    continue
                self.checked += 1
                given = first[i] if second is None else f"{first[i]} || {second[i]}"
                for field in FIELDS:
                    x, y = getattr(a, field), getattr(b, field)
                    if list(x) != list(y):
                        self.differ(field, given, x, y)
                        break
                else:
                    if second is None:
                        self.decode(list(a.ids), given)
        r = random.Random(seed)
        for _ in range(len(texts) // 4):
            self.decode([r.randrange(self.size) for _ in range(r.choice((1, 2, 3, 5, 9)))], "")

    def compare_ids(self, texts: list[str], encodings: Any) -> None:
        """The way of large batches, which make ids alone, against the other one."""
        times = 1 + LARGE_BATCH // max(1, sum(map(len, texts)))
        ids = self.ours.encode_batch(texts * times, None, _core.EncodeOptions(), True, ["ids"]).ids
        for i, found in enumerate(ids):
            if found != list(encodings[i % len(texts)].ids):
                self.differ("ids alone", texts[i % len(texts)], found, list(encodings[i % len(texts)].ids))

    def decode(self, ids: list[int], given: str) -> None:
        for skip in (True, False):
            x, y = self.ours.decode(ids, skip, False), self.unless_it_panics(lambda: self.theirs.decode(ids, skip_special_tokens=skip))
            if y is not None and x != y:
                self.differ("decode", f"{given} ids {ids}", x, y)
                break

    def report(self, limit: int) -> int:
        """Prints the first differences; returns how many there are."""
        panics = f" (the reference panics in {self.panics} more)" if self.panics else ""
        print(f"{self.name}: {self.checked} strings, {len(self.differences)} differences{panics}", flush=True)
        for given, what, ours, theirs in sorted(self.differences, key=lambda d: len(d[0]))[:limit]:
            print(f"  {what} of {ascii(given)}\n    tenon      {ascii(ours)}\n    tokenizers {ascii(theirs)}")
        return len(self.differences)


def description_of(path: pathlib.Path) -> str:
    """The tokenizer.json of a folder, as written or as Tenon makes it of other files."""
    file = path / "tokenizer.json" if path.is_dir() else path
    return file.read_text(encoding="utf-8") if file.is_file() else _core.Tokenizer.from_folder(str(path)).to_json()


def compare(c: Comparison, count: int, seed: int, limit: int = 5) -> int:
    for start in range(0, count, 5000):
        c.run(list(strings(seed + start, min(5000, count - start), c.specials)), seed + start)
    return c.report(limit)


def fuzz_pipelines(count: int, seed: int, per_pipeline: int = 100, limit: int = 5) -> int:
    """`count` strings through random pipelines, `per_pipeline` each."""
    trained = [make() for name, make in KINDS.items() if name in ("wordpiece", "gpt2", "llama", "unigram", "unigram-bytes", "wordlevel", "clip")]
    found = 0
    for i in range(seed, seed + max(1, count // per_pipeline)):
        described = random_pipeline(i, trained)
        c = Comparison(json.dumps(described), f"pipeline {i}")
        c.run(list(strings(i, per_pipeline, c.specials)), i)
        if c.differences:
            print(json.dumps({k: v for k, v in described.items() if k not in ("model", "version")}), described["model"]["type"])
            found += c.report(limit)
    print(f"pipelines: {count} strings, {found} differences", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join([*KINDS, "pipelines"]))
    parser.add_argument("--show", type=int, default=5)
    a = parser.parse_args()
    found = 0
    for folder in a.folders:
        found += compare(Comparison(description_of(folder), str(folder)), a.count, a.seed, a.show)
    for kind in () if a.folders else a.kinds.split(","):
        if kind == "pipelines":
            found += fuzz_pipelines(a.count, a.seed, limit=a.show)
        else:
            found += compare(Comparison(json.dumps(KINDS[kind]()), kind), a.count, a.seed, a.show)
    return min(found, 125)


if __name__ == "__main__":
    sys.exit(main())
