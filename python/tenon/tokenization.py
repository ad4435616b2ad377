"""Tokenizers: one class over the C++ engine, under all the names that Transformers has for it."""
from __future__ import annotations

import operator
import os
from typing import Any, Iterable, Mapping, Sequence

from . import _core, hub
from ._core import AddedToken
from .batch import BatchEncoding, convert
from .chat_template import ChatTemplates
from .padding import EARLY_COLUMNS, VERY_LARGE_INTEGER, Padding, as_lists, columns, padding_of, side_of, truncation_of
from .response_parsing import ResponseReader
from .special_tokens import SpecialTokens
from .tokenizer_training import Trainable
from .translation_tokenizers import TranslationTokenizer

_NO_LIMIT = 2**63 - 1


class TextTypeError(ValueError, TypeError):
    """What should be a text is of another type; Transformers raises ValueError for some such arguments and TypeError for others."""


class PreTrainedTokenizerBase(SpecialTokens, Padding, ChatTemplates, ResponseReader, Trainable):
    """Turns texts into a model's inputs and ids into text."""

    vocab_files: tuple[str, ...] = ("vocab.txt",)
    is_fast = True
    can_save_slow_tokenizer = False
    clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = False

    def __init__(self, *files: Any, **kwargs: Any) -> None:
        """A tokenizer from its files: BertTokenizer("vocab.txt"), RobertaTokenizer("vocab.json", "merges.txt"), or
        PreTrainedTokenizerFast(tokenizer_file="tokenizer.json"); further arguments as in tokenizer_config.json."""
        named = {"vocab_file": self.vocab_files[0] if self.vocab_files[0] != "tokenizer.json" else "vocab.json", "merges_file": "merges.txt",
                 "tokenizer_file": "tokenizer.json", "spm_file": "sentencepiece.bpe.model", "source_spm": "source.spm", "target_spm": "target.spm",
                 "vocab": "vocab.json", "target_vocab_file": "target_vocab.json"}
        sources = dict(zip(self.vocab_files, files))
        for argument, name in named.items():
            if kwargs.get(argument) is not None:
                sources[name] = kwargs.pop(argument)
            kwargs.pop(argument, None)
        if not sources:
            raise TypeError(f"[{type(self).__name__}] expected {' and '.join(self.vocab_files)}; from_pretrained opens folders")
        kwargs.setdefault("tokenizer_class", type(self).__name__)
        self._take(_from_files({name: os.path.abspath(path) for name, path in sources.items()}, kwargs), "")
        self._override(kwargs)

    def _take(self, core: _core.Tokenizer, name_or_path: str, folder: str = "") -> None:
        self._core = core
        self.name_or_path = name_or_path
        self.init_kwargs: dict[str, Any] = core.config.file or {}
        self.verbose = True
        self._add_bos_token = self._add_eos_token = False
        self._take_named_tokens(self.init_kwargs)
        self.chat_template = _read_chat_templates(folder, self.init_kwargs.get("chat_template"))
        self.response_template = self.init_kwargs.get("response_template")
        self.chat_control_tokens = self.init_kwargs.get("chat_control_tokens")
        if not (self.chat_control_tokens is None or _is_list(self.chat_control_tokens)):
            raise TypeError(f"[tokenizer] chat_control_tokens: expected a list of str, got {self.chat_control_tokens!r}")

    def _override(self, given: Mapping[str, Any]) -> None:
        """Applies arguments that win over tokenizer.json itself."""
        if "add_prefix_space" in given:
            self._core.set_add_prefix_space(bool(given["add_prefix_space"]))
        if "add_bos_token" in given or "add_eos_token" in given:
            self._add_bos_token, self._add_eos_token = bool(given.get("add_bos_token")), bool(given.get("add_eos_token"))
            self.update_post_processor()
        if "chat_template" in given:
            self.chat_template = _read_chat_templates("", given["chat_template"])

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *init_inputs: Any, **kwargs: Any) -> Any:
        """Opens a folder or cached hub name; arguments override those of tokenizer_config.json (padding_side, model_max_length, ...) and,
        where they say how texts are framed (add_bos_token, add_eos_token, add_prefix_space), those of tokenizer.json.

        Errors: FileNotFoundError; ValueError naming what is damaged.
        """
        fetch = hub.split_arguments(kwargs)
        for ignored in ("config", "tokenizer_type", "tokenizer_file", "_from_pipeline"):
            kwargs.pop(ignored, None)
        folder = hub.resolve(pretrained_model_name_or_path, **fetch)
        if os.path.isfile(folder):
            core = _from_files({_file_name(folder): os.path.abspath(folder)}, kwargs)
            folder = ""
        elif kwargs:
            kinds = (".json", ".txt", ".jinja", ".model", ".spm", ".tiktoken")
            names = [n for n in os.listdir(folder) if n.endswith(kinds) and n != "tokenizer_config.json"]
            at = os.path.join(folder, "tokenizer_config.json")
            written = _core.read_json(at) if os.path.isfile(at) else {}
            core = _from_files({n: os.path.abspath(os.path.join(folder, n)) for n in names}, {**written, **kwargs})
        else:
            core = _core.Tokenizer.from_folder(folder)
        chosen = tokenizer_class(core.config.tokenizer_class) if cls is PreTrainedTokenizerBase else cls
        tokenizer = chosen.__new__(chosen)
        tokenizer._take(core, os.fspath(pretrained_model_name_or_path), folder)
        tokenizer._override(kwargs)
        return tokenizer

    # Encoding
    def __call__(self, text: Any = None, text_pair: Any = None, text_target: Any = None, text_pair_target: Any = None,
                 add_special_tokens: bool = True, padding: Any = False, truncation: Any = None, max_length: "int | None" = None, stride: int = 0,
                 is_split_into_words: bool = False, pad_to_multiple_of: "int | None" = None, padding_side: "str | None" = None,
                 return_tensors: Any = None, return_token_type_ids: "bool | None" = None, return_attention_mask: "bool | None" = None,
                 return_overflowing_tokens: bool = False, return_special_tokens_mask: bool = False, return_offsets_mapping: bool = False,
                 return_length: bool = False, verbose: bool = True, tokenizer_kwargs: "dict[str, Any] | None" = None, **kwargs: Any) -> BatchEncoding:
        """Encodes a text, a pair, or a list of either (texts and pairs may be mixed); text_target becomes "labels".

        Returns lists; with return_tensors "pt" tenon.Tensors, with "np" NumPy arrays, which need texts of one length (padding=True). A lone
        surrogate counts as U+FFFD.
        Errors: ValueError for what is no text (also a TypeError where a text is of another type) and for contradictory options: a max_length
        without room for the special tokens, a stride that leaves nothing, padding without a pad_token, ...; TypeError for unknown arguments.
        """
        if text is None and text_target is None:
            raise ValueError("[tokenizer] expected text or text_target")
        if tokenizer_kwargs:
            given = {k: v for k, v in locals().items() if k in _CALL_OPTIONS}
            return self(text, text_pair, text_target, text_pair_target, **{**given, **kwargs, **tokenizer_kwargs})
        split_special = kwargs.pop("split_special_tokens", None)
        target_length = kwargs.pop("max_target_length", None)
        if kwargs:
            raise TypeError(f"[tokenizer] unknown arguments: {', '.join(sorted(kwargs))}")
        options = self._options(add_special_tokens, padding, truncation, max_length, stride, pad_to_multiple_of, padding_side)
        options.return_overflowing = return_overflowing_tokens
        options.split_special_tokens = self.split_special_tokens if split_special is None else split_special
        wanted = self._wanted(return_token_type_ids, return_attention_mask, return_special_tokens_mask, return_offsets_mapping, return_length)
        batch = None if text is None else self._encode(text, text_pair, is_split_into_words, options, wanted, return_tensors, verbose)
        if text_target is None:
            return batch  # type: ignore[return-value]
        if target_length is not None:
            options = self._options(add_special_tokens, padding, truncation, target_length, stride, pad_to_multiple_of, padding_side)
        target = self._encode(text_target, text_pair_target, is_split_into_words, options, wanted, return_tensors, verbose, self._target_core())
        if batch is None:
            return target
        batch["labels"] = target["input_ids"]
        return batch

    def _options(self, add_special_tokens: bool, padding: Any, truncation: Any, max_length: "int | None", stride: int,
                 pad_to_multiple_of: "int | None", padding_side: "str | None") -> _core.EncodeOptions:
        options = _core.EncodeOptions()
        options.add_special_tokens = add_special_tokens
        options.padding = padding_of(padding)
        if max_length is not None and truncation is None and padding is False:
            hub.warn("max_length is given without truncation=: texts are cut as with truncation=True", once=True)
            truncation = True
        options.truncation = truncation_of(truncation)
        options.max_length = -1 if max_length is None else _count(max_length, "max_length")
        options.stride = _count(stride or 0, "stride")
        options.pad_to_multiple_of = _count(pad_to_multiple_of or 0, "pad_to_multiple_of")
        if padding_side is not None:
            options.padding_side = side_of(padding_side, "padding_side")
        return options

    def _wanted(self, type_ids: "bool | None", attention_mask: "bool | None", special_tokens_mask: bool, offsets: bool, length: bool) -> dict[str, bool]:
        names = self.model_input_names
        return {"token_type_ids": "token_type_ids" in names if type_ids is None else type_ids,
                "attention_mask": "attention_mask" in names if attention_mask is None else attention_mask,
                "special_tokens_mask": special_tokens_mask, "offset_mapping": offsets, "length": length}

    def _target_core(self) -> _core.Tokenizer:
        """What encodes text_target."""
        return self._core

    def _encode(self, text: Any, pair: Any, is_split: bool, options: _core.EncodeOptions, wanted: dict[str, bool], return_tensors: Any,
                verbose: bool, core: "_core.Tokenizer | None" = None) -> BatchEncoding:
        single, texts, pairs = _batch_of(text, pair, is_split)
        core = core or self._core
        ids_only = not (wanted["special_tokens_mask"] or wanted["offset_mapping"])
        early = [] if return_tensors is not None else ["ids", *(field for name, field in EARLY_COLUMNS.items() if wanted[name])]
        encodings: Any = core.encode_words(texts, pairs, options) if is_split else core.encode_batch(texts, pairs, options, ids_only, early)
        longest = encodings.longest
        if options.return_overflowing:
            encodings = list(encodings)
            samples = [i for i, e in enumerate(encodings) for _ in range(1 + len(e.overflowing))]
            encodings = [w for e in encodings for w in (e, *e.overflowing)]
        if verbose and options.max_length < 0 and longest > self.model_max_length:
            hub.warn(f"a text has more tokens than the model takes ({self.model_max_length}); truncation=True cuts it", once=True)
        flat = single and return_tensors is None and not options.return_overflowing
        data = columns(encodings, wanted, return_tensors)
        if options.return_overflowing:
            data["overflow_to_sample_mapping"] = convert(samples, return_tensors)
        shown = {k: v if k == "length" else v[0] for k, v in data.items()} if flat else data
        return BatchEncoding(shown, encodings, n_sequences=1 if texts and not pairs else None)

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, return_tensors: Any = None, **kwargs: Any) -> Any:
        """The ids of one text or pair."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, return_tensors=return_tensors, **kwargs)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        return self(text, text_pair, **kwargs)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **kwargs: Any) -> BatchEncoding:
        return self(batch_text_or_text_pairs, **kwargs)

    def tokenize(self, text: Any, pair: Any = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The tokens of a text as strings."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()

    # Ids instead of texts
    def prepare_for_model(self, ids: list[int], pair_ids: "list[int] | None" = None, add_special_tokens: bool = True, padding: Any = False,
                          truncation: Any = None, max_length: "int | None" = None, stride: int = 0, pad_to_multiple_of: "int | None" = None,
                          padding_side: "str | None" = None, return_tensors: Any = None, return_token_type_ids: "bool | None" = None,
                          return_attention_mask: "bool | None" = None, return_overflowing_tokens: bool = False,
                          return_special_tokens_mask: bool = False, return_offsets_mapping: bool = False, return_length: bool = False,
                          verbose: bool = True, prepend_batch_axis: bool = False, **kwargs: Any) -> BatchEncoding:
        """Special tokens, truncation and padding for the ids of a text or a pair."""
        if return_offsets_mapping:
            raise NotImplementedError("[prepare_for_model] return_offsets_mapping needs the texts; call the tokenizer with them")
        options = self._options(add_special_tokens, padding, truncation, max_length, stride, pad_to_multiple_of, padding_side)
        extra: dict[str, Any] = {}
        if return_overflowing_tokens and options.truncation != _core.Truncation.none:
            limit = self.model_max_length if max_length is None else max_length
            special = self.num_special_tokens_to_add(pair_ids is not None) if add_special_tokens else 0
            surplus = len(ids) + len(pair_ids or ()) + special - limit
            ids, pair_ids, over = self.truncate_sequences(ids, pair_ids, surplus, options.truncation.name, stride)
            extra = {"overflowing_tokens": over, "num_truncated_tokens": surplus}
        encoding = self._core.prepare(ids, pair_ids, options)
        wanted = self._wanted(return_token_type_ids, return_attention_mask, return_special_tokens_mask, False, return_length)
        data = columns([encoding], wanted, return_tensors)
        if not prepend_batch_axis:
            data = {k: v[0] for k, v in data.items()}
        return BatchEncoding({**extra, **data}, n_sequences=encoding.n_sequences)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: "list[int] | None" = None) -> list[int]:
        """The ids of a text or a pair with the special tokens around them."""
        return self._core.prepare(token_ids_0, token_ids_1, _core.EncodeOptions()).ids

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: "list[int] | None" = None) -> list[int]:
        """The token types of what build_inputs_with_special_tokens() gives."""
        return self._core.prepare(token_ids_0, token_ids_1, _core.EncodeOptions()).type_ids

    def get_special_tokens_mask(self, token_ids_0: list[int], token_ids_1: "list[int] | None" = None, already_has_special_tokens: bool = False) -> list[int]:
        """1 for special tokens: of ids that have them, or of what build_inputs_with_special_tokens() gives."""
        if not already_has_special_tokens:
            return self._core.prepare(token_ids_0, token_ids_1, _core.EncodeOptions()).special_tokens_mask
        if token_ids_1 is not None:
            raise ValueError("[tokenizer] get_special_tokens_mask: expected one list of ids with already_has_special_tokens=True")
        special = set(self.all_special_ids)
        return [int(int(i) in special) for i in token_ids_0]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return self._core.num_special_tokens_to_add(pair)

    # Decoding
    def decode(self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: "bool | None" = None, **kwargs: Any) -> Any:
        """The text of ids (a list, array or tensor, or one id); of several lists of ids a list of texts.

        Errors: ValueError for an id outside the vocabulary; TypeError for what are no ids.
        """
        if isinstance(token_ids, Mapping):
            token_ids = token_ids["input_ids"]
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, int):
            ids = [ids]
        if not isinstance(ids, (str, bytes)) and hasattr(ids, "__iter__") and not (isinstance(ids, list) and ids and type(ids[0]) is int):
            ids = as_lists(list(ids))
            if ids and isinstance(ids[0], list):
                return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        return self._core.decode(ids, skip_special_tokens, self._cleans_up(clean_up_tokenization_spaces))

    def _cleans_up(self, asked: "bool | None") -> "bool | None":
        """As Transformers 5: the clean-up of spaces was made for WordPiece and takes BPE's own spaces away."""
        wants = self.clean_up_tokenization_spaces if asked is None else asked
        if wants and self._core.model_type == "BPE" and not self.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output:
            if asked:
                hub.warn("clean_up_tokenization_spaces=True has no effect on a BPE tokenizer: it would take away the text's own spaces", once=True)
            return False
        return wants

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: "bool | None" = None, **kwargs: Any) -> list[str]:
        """The texts of lists of ids."""
        sequences = sequences.tolist() if hasattr(sequences, "tolist") else list(sequences)
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces) if sequences else []
        return [texts] if isinstance(texts, str) else texts

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        return self._core.join(list(tokens))

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Takes out the spaces that tokenization put before punctuation and contractions."""
        for spaced in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
            text = text.replace(spaced, spaced.strip())
        return text

    # Settings
    @property
    def model_max_length(self) -> int:
        limit = self._core.config.model_max_length
        return VERY_LARGE_INTEGER if limit == _NO_LIMIT else limit

    @model_max_length.setter
    def model_max_length(self, value: int) -> None:
        self._core.config.model_max_length = min(int(value), _NO_LIMIT)

    @property
    def max_len_single_sentence(self) -> int:
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        return self.model_max_length - self.num_special_tokens_to_add(True)

    @property
    def padding_side(self) -> str:
        return self._core.config.padding_side.name

    @padding_side.setter
    def padding_side(self, value: str) -> None:
        self._core.config.padding_side = side_of(value, "padding_side")

    @property
    def truncation_side(self) -> str:
        return self._core.config.truncation_side.name

    @truncation_side.setter
    def truncation_side(self, value: str) -> None:
        self._core.config.truncation_side = side_of(value, "truncation_side")

    @property
    def model_input_names(self) -> list[str]:
        return self._core.config.model_input_names

    @model_input_names.setter
    def model_input_names(self, value: Iterable[str]) -> None:
        self._core.config.model_input_names = list(value)

    @property
    def clean_up_tokenization_spaces(self) -> bool:
        return self._core.config.clean_up_tokenization_spaces

    @clean_up_tokenization_spaces.setter
    def clean_up_tokenization_spaces(self, value: bool) -> None:
        self._core.config.clean_up_tokenization_spaces = bool(value)

    @property
    def split_special_tokens(self) -> bool:
        """Whether special tokens in a text are plain text."""
        return self._core.config.split_special_tokens

    @split_special_tokens.setter
    def split_special_tokens(self, value: bool) -> None:
        self._core.config.split_special_tokens = bool(value)

    @property
    def pad_token_type_id(self) -> int:
        return self._core.config.pad_token_type_id

    @property
    def add_bos_token(self) -> bool:
        """Whether the bos_token is put before texts; setting it replaces what tokenizer.json says about special tokens around texts."""
        return self._add_bos_token

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        self._add_bos_token = bool(value)
        self.update_post_processor()

    @property
    def add_eos_token(self) -> bool:
        return self._add_eos_token

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self._add_eos_token = bool(value)
        self.update_post_processor()

    def update_post_processor(self) -> None:
        """Puts the present bos_token and eos_token around texts, as add_bos_token and add_eos_token say."""
        self._add_bos_token = self._add_bos_token and self.bos_token is not None
        self._add_eos_token = self._add_eos_token and self.eos_token is not None
        self._core.set_bos_eos(self._add_bos_token, self._add_eos_token)

    @property
    def backend_tokenizer(self) -> _core.Tokenizer:
        return self._core

    # Files
    def save_pretrained(self, save_directory: "str | os.PathLike[str]", legacy_format: "bool | None" = None, filename_prefix: "str | None" = None,
                        push_to_hub: bool = False, **kwargs: Any) -> tuple[str, ...]:
        """Writes tokenizer_config.json, tokenizer.json and the chat templates; returns the paths."""
        if push_to_hub:
            raise NotImplementedError("[save_pretrained] push_to_hub: upload the folder with huggingface_hub")
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        templates = self.chat_template if isinstance(self.chat_template, dict) else {"default": self.chat_template} if self.chat_template else {}
        self._core.config.chat_template = templates.get("default", "")
        self._core.save(folder)
        self._write_chat_settings(os.path.join(folder, "tokenizer_config.json"))
        names = ["tokenizer_config.json", *(["chat_template.jinja"] if "default" in templates else [])]
        for name, text in templates.items():
            if name == "default":
                continue
            if os.path.basename(name) != name or name in ("", ".", ".."):
                raise ValueError(f"[save_pretrained] chat template: expected a name without folders, got {name!r}")
            _core.make_folders(os.path.join(folder, "additional_chat_templates"))
            names.append(os.path.join("additional_chat_templates", f"{name}.jinja"))
            with open(os.path.join(folder, names[-1]), "w", encoding="utf-8", newline="") as file:
                file.write(text)
        names += self._core.file_names
        if filename_prefix:
            for i, name in enumerate(names):
                if os.path.dirname(name) == "":
                    names[i] = f"{filename_prefix}-{name}"
                    os.replace(os.path.join(folder, name), os.path.join(folder, names[i]))
        return tuple(os.path.join(folder, name) for name in names)

    def _write_chat_settings(self, path: str) -> None:
        """Into tokenizer_config.json, which the engine writes as it was read."""
        settings = {name: getattr(self, name) for name in ("response_template", "chat_control_tokens")}
        written = _core.read_json(path)
        if any(written.get(name) != value for name, value in settings.items()):
            kept = {k: v for k, v in written.items() if k not in settings}
            _core.write_json({**kept, **{k: v for k, v in settings.items() if v is not None}}, path)

    def save_vocabulary(self, save_directory: "str | os.PathLike[str]", filename_prefix: "str | None" = None) -> tuple[str, ...]:
        """Writes the vocabulary alone, as its kind has it: vocab.txt, vocab.json (with merges.txt for BPE), unigram.json; returns the paths."""
        import json

        model = json.loads(self._core.to_json())["model"]
        vocab = model["vocab"]
        if model["type"] == "Unigram":
            files = {"unigram.json": json.dumps({k: model.get(k) for k in ("unk_id", "vocab", "byte_fallback")}, ensure_ascii=False)}
        elif model["type"] == "WordPiece":
            files = {"vocab.txt": "".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__))}
        else:
            files = {"vocab.json": json.dumps(vocab, ensure_ascii=False)}
        if model["type"] == "BPE":
            files["merges.txt"] = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"])
        paths = []
        for name, text in files.items():
            paths.append(os.path.join(save_directory, f"{filename_prefix}-{name}" if filename_prefix else name))
            with open(paths[-1], "w", encoding="utf-8", newline="") as file:
                file.write(text)
        return tuple(paths)

    def __repr__(self) -> str:
        added = "".join(f"\n\t{i}: {token!r}," for i, token in self.added_tokens_decoder.items())
        return (f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, model_max_length={self.model_max_length}, "
                f"padding_side={self.padding_side!r}, truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map}, "
                f"added_tokens_decoder={{{added}\n}})")

    def __getstate__(self) -> Any:
        import tempfile

        rest = {k: v for k, v in self.__dict__.items() if k != "_core"}
        with tempfile.TemporaryDirectory() as folder:
            self._core.save(folder)
            return rest, {n: open(os.path.join(folder, n), "rb").read() for n in sorted(os.listdir(folder))}

    def __setstate__(self, state: Any) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            for name, content in state[1].items():
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(content)
            self.__dict__["_core"] = _core.Tokenizer.from_folder(folder)
        self.__dict__.update(state[0])


_CALL_OPTIONS = frozenset(("add_special_tokens", "padding", "truncation", "max_length", "stride", "is_split_into_words", "pad_to_multiple_of", "padding_side",
                           "return_tensors", "return_token_type_ids", "return_attention_mask", "return_overflowing_tokens", "return_special_tokens_mask",
                           "return_offsets_mapping", "return_length", "verbose"))


def _count(value: Any, name: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"[tokenizer] {name}: expected an int, got {type(value).__name__}") from None
    if count < 0:
        raise ValueError(f"[tokenizer] {name}: expected at least 0, got {count}")
    return min(count, _NO_LIMIT)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_words(value: Any) -> bool:
    return _is_list(value) and (not value or isinstance(value[0], str))


def _batch_of(text: Any, pair: Any, is_split: bool) -> tuple[bool, list[Any], "list[Any] | None"]:
    """(is it a single text, texts, second texts) from what a call was given."""
    text, pair = (v.tolist() if hasattr(v, "tolist") else v for v in (text, pair))
    is_text = _is_words if is_split else lambda t: isinstance(t, str)
    kind = "a list of words" if is_split else "a str"

    def checked(value: Any, name: str) -> Any:
        if not is_text(value):
            raise TextTypeError(f"[tokenizer] {name}: expected {kind}, a list of such or a list of pairs, got {type(value).__name__}")
        return list(value) if is_split else value

    if is_text(text):
        return True, [checked(text, "text")], [checked(pair, "text_pair")] if pair else None
    if not _is_list(text):
        checked(text, "text")
    if pair is None and not is_split and isinstance(text, list) and _core.are_strings(text):
        return False, list(text), None
    if pair is not None:
        if not _is_list(pair):
            raise TextTypeError(f"[tokenizer] text_pair: expected a list beside a list of texts, got {type(pair).__name__}")
        if len(pair) != len(text):
            raise ValueError(f"[tokenizer] expected as many second texts as texts, got {len(pair)} and {len(text)}")
        return False, [checked(t, "text") for t in text], [checked(p, "text_pair") for p in pair]
    pairs = [_is_list(t) and len(t) == 2 and not is_text(t) and all(map(is_text, t)) for t in text]
    firsts = [checked(t[0] if two else t, "text") for t, two in zip(text, pairs)]
    return False, firsts, [checked(t[1], "text") if two else None for t, two in zip(text, pairs)] if any(pairs) else None


def _file_name(path: str) -> str:
    """What a single file is called in a checkpoint's folder."""
    name = os.path.basename(path)
    return "tokenizer.json" if name.endswith(".json") else name if name.endswith((".model", ".tiktoken")) else "vocab.txt"


def _read_chat_templates(folder: str, written: Any) -> "str | dict[str, str] | None":
    """The chat template of tokenizer_config.json, or what lies beside it: chat_template.jinja and additional_chat_templates/NAME.jinja."""
    found: dict[str, str] = {}
    more = os.path.join(folder, "additional_chat_templates")
    paths = {n.removesuffix(".jinja"): os.path.join(more, n) for n in sorted(os.listdir(more)) if n.endswith(".jinja")} if folder and os.path.isdir(more) else {}
    if folder and os.path.isfile(os.path.join(folder, "chat_template.jinja")):
        paths = {"default": os.path.join(folder, "chat_template.jinja"), **paths}
    for name, path in paths.items():
        with open(path, encoding="utf-8") as file:
            found[name] = file.read()
    if found:
        return found["default"] if found.keys() == {"default"} else found
    if _is_list(written):
        return {entry["name"]: entry["template"] for entry in written}
    return written


def _from_files(files: dict[str, str], config: dict[str, Any]) -> _core.Tokenizer:
    """Opens files from anywhere as one folder with the given tokenizer_config.json."""
    import tempfile

    for path in files.values():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"[tokenizer] {path}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            os.symlink(path, os.path.join(folder, name))
        _core.write_json(_written(config), os.path.join(folder, "tokenizer_config.json"))
        return _core.Tokenizer.from_folder(folder)


def _written(value: Any) -> Any:
    """A configuration as tokenizer_config.json has it."""
    if isinstance(value, AddedToken):
        return {"__type": "AddedToken", "content": value.content, "single_word": value.single_word, "lstrip": value.lstrip, "rstrip": value.rstrip,
                "normalized": value.normalized, "special": value.special}
    if isinstance(value, Mapping):
        return {k: _written(v) for k, v in value.items()}
    return [_written(v) for v in value] if _is_list(value) else value


class PreTrainedTokenizerFast(PreTrainedTokenizerBase):
    """Any tokenizer that a tokenizer.json describes."""

    vocab_files = ("tokenizer.json",)


PreTrainedTokenizer = TokenizersBackend = PreTrainedTokenizerFast
_BPE = ("vocab.json", "merges.txt")
_SPM = ("tokenizer.model",)
_TRANSLATION = ("Marian", "M2M100", "Nllb", "MBart", "MBart50")
_FAMILIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("Bert DistilBert Electra MobileBert MPNet Funnel LayoutLM Lxmert RetriBert SqueezeBert ConvBert RoFormer Splinter".split(), ("vocab.txt",)),
    **dict.fromkeys("Roberta CLIP GPT2 Qwen2 Bart LED Longformer Deberta CodeGen Whisper Blenderbot OpenAIGPT Phi GPTJ".split(), _BPE),
    **dict.fromkeys("Llama T5 Albert Camembert XLMRoberta Gemma Pegasus BigBird DebertaV2 Barthez RemBert XGLM CodeLlama Reformer XLNet".split(), _SPM),
    **dict.fromkeys("MBart MBart50 Nllb".split(), ("sentencepiece.bpe.model",)),
    "Marian": ("source.spm", "target.spm", "vocab.json"),
    "M2M100": ("vocab.json", "sentencepiece.bpe.model"),
    **dict.fromkeys("Bloom Cohere GPTNeoX Herbert Qwen3 DeepseekV3".split(), ("tokenizer.json",)),
}
_classes: dict[str, type[PreTrainedTokenizerBase]] = {}


def class_names() -> list[str]:
    """The tokenizer classes that have a name of their own."""
    return [f"{family}Tokenizer{suffix}" for family in _FAMILIES for suffix in ("", "Fast")]


def tokenizer_class(name: str) -> type[PreTrainedTokenizerBase]:
    """The class of a name as tokenizer_config.json has it, PreTrainedTokenizerFast for others."""
    family = name.removesuffix("Fast").removesuffix("Tokenizer")
    if family not in _FAMILIES or not name.removesuffix("Fast").endswith("Tokenizer"):
        return PreTrainedTokenizerFast
    base = f"{family}Tokenizer"
    if base not in _classes:
        members = {"vocab_files": _FAMILIES[family], "__module__": __name__, "__doc__": f"Transformers' {base}; see PreTrainedTokenizerBase."}
        bases = (TranslationTokenizer, PreTrainedTokenizerFast) if family in _TRANSLATION else (PreTrainedTokenizerFast,)
        _classes[base] = type(base, bases, members)
    return _classes[base]  # the "Fast" names are the same classes: there is one engine


class AutoTokenizer:
    """Opens the tokenizer of any checkpoint."""

    def __init__(self) -> None:
        raise OSError("AutoTokenizer is made with AutoTokenizer.from_pretrained(folder)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *inputs: Any, **kwargs: Any) -> Any:
        """See PreTrainedTokenizerBase.from_pretrained."""
        return PreTrainedTokenizerBase.from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)


def __getattr__(name: str) -> Any:
    if name not in class_names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tokenizer_class(name)
