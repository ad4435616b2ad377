"""Tokenizers: one class over the C++ engine, under all the names that Transformers has for it."""
from __future__ import annotations

import os
from typing import Any, Iterable, Sequence

from . import _core, hub
from ._core import AddedToken, Encoding, Role
from .batch import BatchEncoding, convert

VERY_LARGE_INTEGER = int(1e30)
_NO_LIMIT = 2**63 - 1
_ROLES = tuple(Role.__members__)
_PADDING = {False: "none", None: "none", "do_not_pad": "none", True: "longest", "longest": "longest", "max_length": "max_length"}
_TRUNCATION = {False: "none", None: "none", "do_not_truncate": "none", True: "longest_first", "longest_first": "longest_first",
               "only_first": "only_first", "only_second": "only_second"}


def _choose(table: dict[Any, str], enum: Any, value: Any, name: str) -> Any:
    value = getattr(value, "value", value)
    if not isinstance(value, (bool, str, type(None))) or value not in table:
        raise ValueError(f"[tokenizer] {name}: expected one of {', '.join(repr(k) for k in table)}, got {value!r}")
    return enum.__members__[table[value]]


class PreTrainedTokenizerBase:
    """Turns texts into a model's inputs and ids into text."""

    vocab_files: tuple[str, ...] = ("vocab.txt",)
    is_fast = True
    # properties, made below from the roles that the engine knows
    bos_token: "str | None"
    bos_token_id: "int | None"
    eos_token: "str | None"
    eos_token_id: "int | None"
    unk_token: "str | None"
    unk_token_id: "int | None"
    sep_token: "str | None"
    sep_token_id: "int | None"
    pad_token: "str | None"
    pad_token_id: "int | None"
    cls_token: "str | None"
    cls_token_id: "int | None"
    mask_token: "str | None"
    mask_token_id: "int | None"

    def __init__(self, *files: Any, **kwargs: Any) -> None:
        """A tokenizer from its files: BertTokenizer("vocab.txt"), RobertaTokenizer("vocab.json", "merges.txt"), or
        PreTrainedTokenizerFast(tokenizer_file="tokenizer.json"); further arguments as in tokenizer_config.json."""
        named = {"vocab_file": "vocab.txt" if self.vocab_files == ("vocab.txt",) else "vocab.json", "merges_file": "merges.txt",
                 "tokenizer_file": "tokenizer.json"}
        sources = dict(zip(self.vocab_files, files))
        for argument, name in named.items():
            if kwargs.get(argument) is not None:
                sources[name] = kwargs.pop(argument)
            kwargs.pop(argument, None)
        if not sources:
            raise TypeError(f"[{type(self).__name__}] expected {' and '.join(self.vocab_files)}; from_pretrained opens folders")
        kwargs.setdefault("tokenizer_class", type(self).__name__)
        self._take(_from_files({name: os.path.abspath(path) for name, path in sources.items()}, kwargs), "")

    def _take(self, core: _core.Tokenizer, name_or_path: str) -> None:
        self._core = core
        self.name_or_path = name_or_path
        self.init_kwargs: dict[str, Any] = core.config.file
        self.verbose = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *init_inputs: Any, **kwargs: Any) -> Any:
        """Opens a folder or cached hub name; arguments override those of tokenizer_config.json (padding_side, model_max_length, ...).

        Errors: FileNotFoundError; ValueError naming what is damaged.
        """
        fetch = hub.split_arguments(kwargs)
        kwargs.pop("config", None)
        kwargs.pop("tokenizer_type", None)
        folder = hub.resolve(pretrained_model_name_or_path, **fetch)
        if os.path.isfile(folder):
            core = _from_files({"tokenizer.json" if folder.endswith(".json") else "vocab.txt": os.path.abspath(folder)}, kwargs)
        elif kwargs:
            names = [n for n in os.listdir(folder) if n.endswith((".json", ".txt", ".jinja", ".model")) and n != "tokenizer_config.json"]
            at = os.path.join(folder, "tokenizer_config.json")
            written = _core.read_json(at) if os.path.isfile(at) else {}
            core = _from_files({n: os.path.abspath(os.path.join(folder, n)) for n in names}, {**written, **kwargs})
        else:
            core = _core.Tokenizer.from_folder(folder)
        chosen = tokenizer_class(core.config.tokenizer_class) if cls is PreTrainedTokenizerBase else cls
        tokenizer = chosen.__new__(chosen)
        tokenizer._take(core, os.fspath(pretrained_model_name_or_path))
        return tokenizer

    # Encoding
    def __call__(self, text: Any = None, text_pair: Any = None, text_target: Any = None, text_pair_target: Any = None,
                 add_special_tokens: bool = True, padding: Any = False, truncation: Any = None, max_length: "int | None" = None, stride: int = 0,
                 is_split_into_words: bool = False, pad_to_multiple_of: "int | None" = None, padding_side: "str | None" = None,
                 return_tensors: Any = None, return_token_type_ids: "bool | None" = None, return_attention_mask: "bool | None" = None,
                 return_overflowing_tokens: bool = False, return_special_tokens_mask: bool = False, return_offsets_mapping: bool = False,
                 return_length: bool = False, verbose: bool = True, **kwargs: Any) -> BatchEncoding:
        """Encodes a text, a pair, or a list of either.

        Returns lists; with return_tensors "pt" tenon.Tensors, with "np" NumPy arrays, which need texts of one length (padding=True).
        Errors: ValueError for what is no text and for contradictory options; TypeError for unknown arguments.
        """
        if text is None and text_target is None:
            raise ValueError("[tokenizer] expected text or text_target")
        split_special = kwargs.pop("split_special_tokens", False)
        if kwargs:
            raise TypeError(f"[tokenizer] unknown arguments: {', '.join(sorted(kwargs))}")
        options = self._options(add_special_tokens, padding, truncation, max_length, stride, pad_to_multiple_of, padding_side)
        options.return_overflowing = return_overflowing_tokens
        options.split_special_tokens = split_special
        names = self.model_input_names
        wanted = {
            "token_type_ids": "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids,
            "attention_mask": "attention_mask" in names if return_attention_mask is None else return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask, "offset_mapping": return_offsets_mapping, "length": return_length,
        }
        if text is None:
            return self._encode(text_target, text_pair_target, is_split_into_words, options, wanted, return_tensors)
        batch = self._encode(text, text_pair, is_split_into_words, options, wanted, return_tensors)
        if text_target is not None:
            batch["labels"] = self._encode(text_target, text_pair_target, is_split_into_words, options, wanted, return_tensors)["input_ids"]
        return batch

    def _options(self, add_special_tokens: bool, padding: Any, truncation: Any, max_length: "int | None", stride: int,
                 pad_to_multiple_of: "int | None", padding_side: "str | None") -> _core.EncodeOptions:
        options = _core.EncodeOptions()
        options.add_special_tokens = add_special_tokens
        options.padding = _choose(_PADDING, _core.Padding, padding, "padding")
        if max_length is not None and truncation is None and options.padding == _core.Padding.none:
            hub.warn("max_length is given without truncation=: texts are cut as with truncation=True", once=True)
            truncation = True
        options.truncation = _choose(_TRUNCATION, _core.Truncation, truncation, "truncation")
        options.max_length = -1 if max_length is None else max_length
        options.stride = stride
        options.pad_to_multiple_of = pad_to_multiple_of or 0
        if padding_side is not None:
            options.padding_side = _side(padding_side, "padding_side")
        return options

    def _encode(self, text: Any, pair: Any, is_split: bool, options: _core.EncodeOptions, wanted: dict[str, bool], return_tensors: Any) -> BatchEncoding:
        single, texts, pairs = _batch_of(text, pair, is_split)
        encodings = (self._core.encode_words if is_split else self._core.encode_batch)(texts, pairs, options)
        samples = list(range(len(encodings)))
        if options.return_overflowing:
            samples = [i for i, e in enumerate(encodings) for _ in range(1 + len(e.overflowing))]
            encodings = [w for e in encodings for w in (e, *e.overflowing)]
        flat = single and return_tensors is None and not options.return_overflowing
        data = _columns(encodings, wanted, return_tensors)
        if options.return_overflowing:
            data["overflow_to_sample_mapping"] = convert(samples, return_tensors)
        batch = BatchEncoding({k: v if k == "length" else v[0] for k, v in data.items()} if flat else data, encodings, single)
        batch.__dict__["_to_token"] = self._core.id_to_token
        return batch

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, return_tensors: Any = None, **kwargs: Any) -> Any:
        """The ids of one text or pair."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, return_tensors=return_tensors, **kwargs)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        return self(text, text_pair, **kwargs)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **kwargs: Any) -> BatchEncoding:
        return self(batch_text_or_text_pairs, **kwargs)

    def tokenize(self, text: str, pair: "str | None" = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The tokens of a text as strings."""
        return self.convert_ids_to_tokens(self.encode(text, pair, add_special_tokens=add_special_tokens, **kwargs))

    def pad(self, encoded_inputs: Any, padding: Any = True, max_length: "int | None" = None, pad_to_multiple_of: "int | None" = None,
            padding_side: "str | None" = None, return_attention_mask: "bool | None" = None, return_tensors: Any = None, verbose: bool = True) -> BatchEncoding:
        """Pads encodings (a dict of lists, or a list of dicts) to one length."""
        if isinstance(encoded_inputs, (list, tuple)):
            encoded_inputs = {k: [e[k] for e in encoded_inputs] for k in encoded_inputs[0]} if encoded_inputs else {}
        data = {k: v.tolist() if hasattr(v, "tolist") else [x.tolist() if hasattr(x, "tolist") else x for x in v] for k, v in encoded_inputs.items()}
        name = self.model_input_names[0]
        if name not in data:
            raise ValueError(f"[tokenizer] pad: expected {name}, got {', '.join(data) or 'nothing'}")
        single = bool(data[name]) and not isinstance(data[name][0], list)
        if single:
            data = {k: [v] for k, v in data.items()}
        lengths = [len(ids) for ids in data[name]]
        kind = _choose(_PADDING, _core.Padding, padding, "padding")
        target = max(lengths, default=0)
        if kind == _core.Padding.max_length:
            target = self.model_max_length if max_length is None else max_length
        if pad_to_multiple_of:
            target = -(-target // pad_to_multiple_of) * pad_to_multiple_of
        wants_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if wants_mask:
            data.setdefault("attention_mask", [[1] * n for n in lengths])
        if kind != _core.Padding.none and target < VERY_LARGE_INTEGER:
            left = _side(padding_side or self.padding_side, "padding_side") == _core.Side.left
            if self.pad_token_id is None and any(n < target for n in lengths):
                raise ValueError("[tokenizer] padding: expected a tokenizer with a pad_token; set one first")
            fill = {name: self.pad_token_id, "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1, "attention_mask": 0}
            for key in fill.keys() & data.keys():
                data[key] = [[fill[key]] * (target - len(v)) + v if left else v + [fill[key]] * (target - len(v)) for v in data[key]]
        if single and return_tensors is None:
            data = {k: v[0] for k, v in data.items()}
        return BatchEncoding({k: convert(v, return_tensors) for k, v in data.items()})

    # Decoding
    def decode(self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: "bool | None" = None, **kwargs: Any) -> Any:
        """The text of ids; of several lists of ids a list of texts. Errors: ValueError for an id outside the vocabulary."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, int):
            ids = [ids]
        if ids and hasattr(ids[0], "__len__"):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        return self._core.decode([int(i) for i in ids], skip_special_tokens, clean_up_tokenization_spaces)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: "bool | None" = None, **kwargs: Any) -> list[str]:
        return [self.decode(ids, skip_special_tokens, clean_up_tokenization_spaces) for ids in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        return self._core.join(list(tokens))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Token strings; None for an id that there is not."""
        if isinstance(ids, int):
            return self._core.id_to_token(ids) if self._core.has_id(ids) else None
        skip = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.convert_ids_to_tokens(int(i)) for i in ids if int(i) not in skip]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Ids; the unknown token's for a token that there is not."""
        if isinstance(tokens, str):
            found = self._core.token_to_id(tokens)
            return found if found >= 0 else self.unk_token_id
        return None if tokens is None else [self.convert_tokens_to_ids(t) for t in tokens]

    # Vocabulary
    @property
    def vocab_size(self) -> int:
        """Tokens of the model, without those that were added."""
        return self._core.vocab_size(False)

    def __len__(self) -> int:
        return self._core.vocab_size(True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        return dict(self._core.vocab(True))

    vocab = property(get_vocab)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return self._core.added_tokens()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {t.content: i for i, t in self._core.added_tokens().items()}

    def get_added_vocab(self) -> dict[str, int]:
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens that the vocabulary lacks; returns how many."""
        tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
        before = len(self)
        self._core.add_tokens([AddedToken(t, special=special_tokens) if isinstance(t, str) else t for t in tokens])
        return len(self) - before

    def add_special_tokens(self, special_tokens_dict: dict[str, Any], replace_additional_special_tokens: bool = True) -> int:
        """Gives roles to tokens: {"pad_token": "[PAD]"}; returns how many are new."""
        before = len(self)
        for name, value in special_tokens_dict.items():
            if name in ("additional_special_tokens", "extra_special_tokens"):
                self.add_tokens(list(value), special_tokens=True)
                self._core.config.extra_special_tokens = [str(t) for t in value]
            else:
                setattr(self, name, value)
        return len(self) - before

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        return {r: self._core.role(Role.__members__[r]) for r in _ROLES if self._core.role(Role.__members__[r])}

    @property
    def additional_special_tokens(self) -> list[str]:
        return self._core.config.extra_special_tokens

    extra_special_tokens = additional_special_tokens

    @property
    def all_special_tokens(self) -> list[str]:
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        return [self._core.token_to_id(t) for t in self.all_special_tokens]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return self._core.num_special_tokens_to_add(pair)

    def get_special_tokens_mask(self, token_ids_0: list[int], token_ids_1: "list[int] | None" = None, already_has_special_tokens: bool = True) -> list[int]:
        special = set(self.all_special_ids)
        return [int(i in special) for i in [*token_ids_0, *(token_ids_1 or [])]]

    # Settings
    @property
    def model_max_length(self) -> int:
        limit = self._core.config.model_max_length
        return VERY_LARGE_INTEGER if limit == _NO_LIMIT else limit

    @model_max_length.setter
    def model_max_length(self, value: int) -> None:
        self._core.config.model_max_length = min(int(value), _NO_LIMIT)

    @property
    def padding_side(self) -> str:
        return self._core.config.padding_side.name

    @padding_side.setter
    def padding_side(self, value: str) -> None:
        self._core.config.padding_side = _side(value, "padding_side")

    @property
    def truncation_side(self) -> str:
        return self._core.config.truncation_side.name

    @truncation_side.setter
    def truncation_side(self, value: str) -> None:
        self._core.config.truncation_side = _side(value, "truncation_side")

    @property
    def model_input_names(self) -> list[str]:
        return self._core.config.model_input_names

    @model_input_names.setter
    def model_input_names(self, value: Iterable[str]) -> None:
        self._core.config.model_input_names = list(value)

    @property
    def clean_up_tokenization_spaces(self) -> bool:
        return self._core.config.clean_up_tokenization_spaces

    @property
    def pad_token_type_id(self) -> int:
        return self._core.config.pad_token_type_id

    @property
    def chat_template(self) -> "str | None":
        return self._core.config.chat_template or None

    # Files
    def save_pretrained(self, save_directory: "str | os.PathLike[str]", **kwargs: Any) -> tuple[str, ...]:
        """Writes tokenizer.json and tokenizer_config.json; returns the paths."""
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        self._core.save(folder)
        return tuple(os.path.join(folder, name) for name in ("tokenizer_config.json", "tokenizer.json"))

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, model_max_length={self.model_max_length}, "
                f"padding_side={self.padding_side!r}, special_tokens={self.special_tokens_map})")

    def __getstate__(self) -> Any:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self._core.save(folder)
            return self.name_or_path, {n: open(os.path.join(folder, n), encoding="utf-8").read() for n in sorted(os.listdir(folder))}

    def __setstate__(self, state: Any) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            for name, text in state[1].items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            self._take(_core.Tokenizer.from_folder(folder), state[0])


def _role_properties(role: str) -> tuple[property, property]:
    key = Role.__members__[role]

    def get(self: PreTrainedTokenizerBase) -> "str | None":
        return self._core.role(key) or None

    def set_token(self: PreTrainedTokenizerBase, value: Any) -> None:
        self._core.set_role(key, value if isinstance(value, AddedToken) else AddedToken(value, special=True))

    def get_id(self: PreTrainedTokenizerBase) -> "int | None":
        found = self._core.role_id(key)
        return found if found >= 0 else None

    def set_id(self: PreTrainedTokenizerBase, value: int) -> None:
        set_token(self, self._core.id_to_token(value))

    return property(get, set_token, doc=f"The {role.replace('_', ' ')}, or None."), property(get_id, set_id, doc=f"The id of the {role.replace('_', ' ')}.")


for _role in _ROLES:
    _token, _id = _role_properties(_role)
    setattr(PreTrainedTokenizerBase, _role, _token)
    setattr(PreTrainedTokenizerBase, f"{_role}_id", _id)


def _side(value: str, name: str) -> _core.Side:
    if value not in ("left", "right"):
        raise ValueError(f"[tokenizer] {name}: expected \"left\" or \"right\", got {value!r}")
    return _core.Side.__members__[value]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _batch_of(text: Any, pair: Any, is_split: bool) -> tuple[bool, list[Any], "list[Any] | None"]:
    """(is it a single text, texts, second texts) from what a call was given."""
    text, pair = (v.tolist() if hasattr(v, "tolist") else list(v) if isinstance(v, tuple) and not is_split else v for v in (text, pair))
    single = isinstance(text, str) if not is_split else _is_list(text) and (not text or isinstance(text[0], str))
    if single:
        if pair is not None and not (isinstance(pair, str) or (is_split and _is_list(pair))):
            raise ValueError(f"[tokenizer] text_pair: expected one text beside one text, got {type(pair).__name__}")
        return True, [text], None if pair is None else [pair]
    if not isinstance(text, list):
        raise ValueError(f"[tokenizer] text: expected a str, a list of str, or a list of pairs, got {type(text).__name__}")
    if pair is None and not is_split and text and all(_is_list(t) and len(t) == 2 for t in text):
        return False, [t[0] for t in text], [t[1] for t in text]
    expected = _is_list if is_split else lambda t: isinstance(t, str)
    for name, values in (("text", text), ("text_pair", pair)):
        if values is None:
            continue
        wrong = next((v for v in values if not expected(v)), None) if isinstance(values, list) else values
        if wrong is not None or not isinstance(values, list):
            raise ValueError(f"[tokenizer] {name}: expected a list of {'lists of words' if is_split else 'str'}, got {type(wrong).__name__} in it")
    return False, text, pair


def _columns(encodings: list[Encoding], wanted: dict[str, bool], return_tensors: Any) -> dict[str, Any]:
    columns = {"input_ids": ("ids", _core.stack_ids), "token_type_ids": ("type_ids", _core.stack_type_ids),
               "attention_mask": ("attention_mask", _core.stack_attention_mask),
               "special_tokens_mask": ("special_tokens_mask", _core.stack_special_tokens_mask)}
    data: dict[str, Any] = {}
    for name, (field, stack) in columns.items():
        if name == "input_ids" or wanted[name]:
            data[name] = [getattr(e, field) for e in encodings] if return_tensors is None else convert(stack(encodings), return_tensors)
    if wanted["offset_mapping"]:
        data["offset_mapping"] = convert([e.offsets for e in encodings], return_tensors)
    if wanted["length"]:
        data["length"] = convert([len(e) for e in encodings], return_tensors)
    return data


def _from_files(files: dict[str, str], config: dict[str, Any]) -> _core.Tokenizer:
    """Opens files from anywhere as one folder with the given tokenizer_config.json."""
    import tempfile

    for path in files.values():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"[tokenizer] {path}: no such file")
    plain = {k: str(v) if isinstance(v, AddedToken) else v for k, v in config.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            os.symlink(path, os.path.join(folder, name))
        _core.write_json(plain, os.path.join(folder, "tokenizer_config.json"))
        return _core.Tokenizer.from_folder(folder)


class PreTrainedTokenizerFast(PreTrainedTokenizerBase):
    """Any tokenizer that a tokenizer.json describes."""

    vocab_files = ("tokenizer.json",)


PreTrainedTokenizer = PreTrainedTokenizerFast
_FAMILIES = {"Bert": ("vocab.txt",), "DistilBert": ("vocab.txt",), "Roberta": ("vocab.json", "merges.txt"), "XLMRoberta": ("tokenizer.json",),
             "CLIP": ("vocab.json", "merges.txt"), "GPT2": ("vocab.json", "merges.txt")}
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
        _classes[base] = type(base, (PreTrainedTokenizerFast,), members)
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
