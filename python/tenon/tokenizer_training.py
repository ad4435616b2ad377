"""Tokenizers from nothing: train_tokenizer(), and train_new_from_iterator() of a tokenizer that is there."""
from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from . import _core
from ._core import AddedToken, Role
from ._lazy import LazyModule

json: Any = LazyModule("json")

_BATCH = 1000  # texts that are counted together
_DEFAULT_SPECIALS = {"wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "unigram": ("<unk>", "<s>", "</s>", "<pad>")}
# the roles of special tokens that are called as they usually are
_ROLES = {"<|endoftext|>": ("bos_token", "eos_token"), "<s>": ("bos_token",), "<bos>": ("bos_token",), "</s>": ("eos_token",), "<eos>": ("eos_token",),
          "<unk>": ("unk_token",), "[UNK]": ("unk_token",), "<pad>": ("pad_token",), "[PAD]": ("pad_token",), "<mask>": ("mask_token",),
          "[MASK]": ("mask_token",), "[CLS]": ("cls_token",), "[SEP]": ("sep_token",), "<cls>": ("cls_token",), "<sep>": ("sep_token",)}
_OPTIONS = ("min_frequency", "limit_alphabet", "initial_alphabet", "continuing_subword_prefix", "end_of_word_suffix", "max_token_length", "unk_token",
            "shrinking_factor", "n_sub_iterations", "max_piece_length", "seed_size")


def _bar(total: "int | None", what: str, show: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, disable=not show, leave=False)


def _batches(texts: Iterable[Any]) -> Iterator[list[str]]:
    """Lists of texts, from texts or lists of texts."""
    batch: list[str] = []
    for entry in texts:
        batch.extend((entry,) if isinstance(entry, str) else entry)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _lines(paths: Sequence[Any]) -> Iterator[str]:
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            yield from file


def _count(pipeline: _core.Tokenizer, texts: Iterable[Any], length: "int | None", show: bool) -> _core.WordCounts:
    words = _core.WordCounts(pipeline)
    with _bar(length, "counting words", show) as bar:
        for batch in _batches(texts):
            words.add(batch)
            bar.update(len(batch))
    return words


def _train(pipeline: _core.Tokenizer, texts: Iterable[Any], options: _core.TrainOptions, length: "int | None", show: bool) -> _core.Tokenizer:
    words = _count(pipeline, texts, length, show)
    bars: dict[str, Any] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = _bar(total, stage, show)
        bars[stage].n = done
        bars[stage].refresh()

    try:
        return _core.train_tokenizer(pipeline, words, options, progress if show else None)
    finally:
        for bar in bars.values():
            bar.close()


def _options(vocab_size: int, special_tokens: Iterable[Any], given: Mapping[str, Any]) -> _core.TrainOptions:
    unknown = given.keys() - set(_OPTIONS)
    if unknown:
        raise TypeError(f"[train_tokenizer] unknown arguments: {', '.join(sorted(unknown))}; known: {', '.join(_OPTIONS)}")
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise ValueError(f"[train_tokenizer] vocab_size: expected a positive int, got {vocab_size!r}")
    options = _core.TrainOptions()
    options.vocab_size = vocab_size
    options.special_tokens = [t if isinstance(t, AddedToken) else AddedToken(str(t), special=True) for t in special_tokens]
    for name, value in given.items():
        if value is not None or name in ("limit_alphabet", "max_token_length", "unk_token"):
            setattr(options, name, list(value) if name == "initial_alphabet" else value)
    return options


def _has_byte_level(stage: Any) -> bool:
    return bool(stage) and (stage["type"] == "ByteLevel" or any(map(_has_byte_level, stage.get("pretokenizers", ()))))


def _byte_alphabet() -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]


def _frame(core: _core.Tokenizer, cls: str, sep: str) -> _core.Tokenizer:
    """The tokenizer with [CLS] A [SEP] and [CLS] A [SEP] B [SEP]."""
    def part(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken" if name in (cls, sep) else "Sequence": {"id": name, "type_id": type_id}}

    written = json.loads(core.to_json())
    single = [part(cls, 0), part("A", 0), part(sep, 0)]
    written["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": [*single, part("B", 1), part(sep, 1)],
                                 "special_tokens": {t: {"id": t, "ids": [core.token_to_id(t)], "tokens": [t]} for t in (cls, sep)}}
    return _core.Tokenizer.from_json(json.dumps(written))


def train_tokenizer(iterator_or_files: Any, kind: str = "bpe", vocab_size: int = 30000, special_tokens: Any = None, min_frequency: int = 2,
                    byte_level: bool = True, lowercase: bool = False, length: "int | None" = None, progress: bool = True, **kwargs: Any) -> Any:
    """A tokenizer trained from nothing, as a PreTrainedTokenizerFast; save_pretrained() writes a tokenizer.json that Hugging Face opens.

    iterator_or_files: texts, or lists of texts; a path, or a list of paths, of text files, which are read line by line (a list of str counts
        as paths if all of them name files).
    kind: "bpe" (with byte_level as GPT-2; without it on characters, unknown ones being <unk>), "wordpiece" (as BERT), "unigram" (as
        SentencePiece).
    special_tokens: the first tokens of the vocabulary: texts or AddedTokens, which have the role that their name usually has ("</s>" is the
        eos_token), or a dict of roles and tokens. None: those usual for the kind.
    min_frequency: how often a pair must occur to be merged.
    length: how many texts there are, for the progress bar.
    Further arguments as Hugging Face's trainers have them: limit_alphabet, initial_alphabet, continuing_subword_prefix, end_of_word_suffix,
        max_token_length, unk_token, shrinking_factor, n_sub_iterations, max_piece_length, seed_size.

    Errors: ValueError without texts, for a vocab_size below the number of special tokens and characters, and for other kinds;
    FileNotFoundError; TypeError for unknown arguments.
    """
    from .tokenization import PreTrainedTokenizerFast

    roles: dict[str, str] = {}
    if special_tokens is None:
        special_tokens = _DEFAULT_SPECIALS.get(kind, ("<|endoftext|>",) if byte_level else _DEFAULT_SPECIALS["unigram"])
    if isinstance(special_tokens, Mapping):
        odd = [r for r in special_tokens if r not in Role.__members__]
        if odd:
            raise ValueError(f"[train_tokenizer] special_tokens: expected roles ({', '.join(Role.__members__)}), got {odd[0]!r}")
        roles = {role: str(token) for role, token in special_tokens.items()}
        special_tokens = list(dict.fromkeys(special_tokens.values()))
    else:
        special_tokens = list(special_tokens)
        for token in map(str, special_tokens):
            roles.update({role: token for role in _ROLES.get(token, ()) if role not in roles})
    pipeline = _core.training_pipeline(kind, byte_level, lowercase)
    if kind == "bpe" and byte_level:
        kwargs.setdefault("initial_alphabet", _byte_alphabet())
    if kind == "unigram":
        kwargs.setdefault("unk_token", roles.get("unk_token", "<unk>"))
    else:
        kwargs["min_frequency"] = min_frequency
    options = _options(vocab_size, special_tokens, kwargs)
    unk = pipeline.stages["model"].get("unk_token")
    if unk is not None and "unk_token" in roles:
        options.renamed = {unk: roles["unk_token"]}

    paths = _paths_of(iterator_or_files)
    core = _train(pipeline, iterator_or_files if paths is None else _lines(paths), options, length, progress)
    if kind == "wordpiece" and {"cls_token", "sep_token"} <= roles.keys():
        core = _frame(core, roles["cls_token"], roles["sep_token"])
    if kind == "wordpiece":
        core.config.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    for role, token in roles.items():
        core.name_role(Role.__members__[role], token)
    tokenizer = PreTrainedTokenizerFast.__new__(PreTrainedTokenizerFast)
    tokenizer._take(core, "")
    return tokenizer


def _paths_of(given: Any) -> "list[Any] | None":
    """The files that are meant, or None where the texts themselves are given."""
    if isinstance(given, (str, os.PathLike)):
        return [given]
    if not isinstance(given, (list, tuple)) or not given:
        return None
    if all(isinstance(p, os.PathLike) for p in given):
        return list(given)
    is_files = all(isinstance(p, str) and len(p) < 4096 and "\0" not in p and os.path.isfile(p) for p in given)
    return list(given) if is_files else None


class Trainable:
    """The part of a tokenizer that trains another one of its kind."""

    _core: _core.Tokenizer
    _take: Callable[..., None]

    def train_new_from_iterator(self, text_iterator: Iterable[Any], vocab_size: int, length: "int | None" = None,
                                new_special_tokens: "Iterable[Any] | None" = None, special_tokens_map: "Mapping[str, str] | None" = None,
                                show_progress: bool = True, **kwargs: Any) -> Any:
        """A tokenizer with the same stages, special tokens and settings, its vocabulary trained on other texts (texts, or lists of texts).

        length: how many texts there are, for the progress bar. special_tokens_map: new names of special tokens. Further arguments are those of
        Hugging Face's trainers; see train_tokenizer().
        Errors: ValueError without texts and for a vocab_size below the number of special tokens and characters; TypeError.
        """
        stages, renamed = self._core.stages, dict(special_tokens_map or {})
        model = stages["model"]
        special_tokens: list[AddedToken] = []
        for token in self._core.added_tokens().values():
            if token.special or model["type"] == "Unigram":
                special_tokens.append(AddedToken(renamed.get(token.content, token.content), single_word=token.single_word, lstrip=token.lstrip,
                                                 rstrip=token.rstrip, normalized=token.normalized, special=True))
        extra = [t if isinstance(t, AddedToken) else AddedToken(str(t), special=True) for t in new_special_tokens or ()]
        if model["type"] == "BPE":
            for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
                kwargs.setdefault(affix, model.get(affix) or "")
        if model["type"] == "WordPiece":
            kwargs.setdefault("continuing_subword_prefix", model.get("continuing_subword_prefix", "##"))
        if model["type"] == "Unigram" and "unk_token" not in kwargs:
            unk = model.get("unk_id")
            kwargs["unk_token"] = None if unk is None else renamed.get(self._core.id_to_token(unk), self._core.id_to_token(unk))
        if _has_byte_level(stages["pre_tokenizer"]):
            kwargs["initial_alphabet"] = _byte_alphabet()
        options = _options(vocab_size, [*special_tokens, *extra], kwargs)
        options.renamed = renamed
        core = _train(self._core, text_iterator, options, length, show_progress)
        core.config.extra_special_tokens = [*(renamed.get(t, t) for t in self._core.config.extra_special_tokens), *(t.content for t in extra)]
        new = type(self).__new__(type(self))
        new._take(core, self.name_or_path)  # type: ignore[attr-defined]
        new.chat_template = self.chat_template  # type: ignore[attr-defined]
        return new
