"""The part of a tokenizer that knows its vocabulary: tokens and ids, tokens with a role, added tokens."""
from __future__ import annotations

from typing import Any, Iterable

from ._core import AddedToken, Role, Tokenizer

_ROLES = tuple(Role.__members__)


class SpecialTokens:
    """Tokens by id, by role, and those that were added. A role may be given to a text that the vocabulary lacks: its id is then the
    unknown token's, as everywhere; add_special_tokens() also adds it."""

    SPECIAL_TOKENS_ATTRIBUTES = list(_ROLES)
    _core: Tokenizer
    _named: dict[str, str]  # further roles that a checkpoint names, image_token and the like
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

    def _take_named_tokens(self, config: dict[str, Any]) -> None:
        self._named = {k: str(v) for k, v in config.items() if k.endswith("_token") and k not in _ROLES and isinstance(v, (str, AddedToken))}
        extra = config.get("extra_special_tokens")
        if isinstance(extra, dict):
            self._named.update({k: v["content"] if isinstance(v, dict) else str(v) for k, v in extra.items()})
        missing = [t for t in self._named.values() if self._core.token_to_id(t) < 0]
        self._core.add_tokens([AddedToken(t, special=True) for t in missing])
        self._core.config.extra_special_tokens = [t for t in self._core.config.extra_special_tokens if t not in self._named.values()]

    def __getattr__(self, name: str) -> Any:
        named = self.__dict__.get("_named", {})
        if name in named:
            return named[name]
        if name.endswith("_id") and name[:-3] in named:
            return self.convert_tokens_to_ids(named[name[:-3]])
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    # Tokens and ids
    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Token strings; None for an id that there is not."""
        if hasattr(ids, "tolist"):
            ids = ids.tolist()
        if isinstance(ids, int):
            return self._core.id_to_token(ids) if self._core.has_id(ids) else None
        skip = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.convert_ids_to_tokens(int(i)) for i in ids if int(i) not in skip]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Ids; the unknown token's for a token that there is not, None without an unknown token."""
        if isinstance(tokens, (str, AddedToken)):
            found = self._core.token_to_id(str(tokens))
            if found < 0:
                unknown = self._core.role_id(Role.unk_token)
                return unknown if unknown >= 0 else None
            return found
        if tokens is None:
            return None
        if not hasattr(tokens, "__iter__"):
            raise TypeError(f"[tokenizer] convert_tokens_to_ids: expected a str or a list of str, got {type(tokens).__name__}")
        return [self.convert_tokens_to_ids(t) for t in tokens]

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

    # Added tokens
    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return self._core.added_tokens()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {t.content: i for i, t in self._core.added_tokens().items()}

    def get_added_vocab(self) -> dict[str, int]:
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens that are found before the text is cut; returns how many were not added before."""
        tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens or ())
        wrong = next((t for t in tokens if not isinstance(t, (str, AddedToken))), None)
        if wrong is not None:
            raise TypeError(f"[tokenizer] add_tokens: expected str or AddedToken, got {type(wrong).__name__}")
        return self._core.add_tokens([_as_added(t, special_tokens) for t in tokens])

    def add_special_tokens(self, special_tokens_dict: dict[str, Any], replace_extra_special_tokens: bool = True,
                           replace_additional_special_tokens: "bool | None" = None) -> int:
        """Gives roles to tokens, {"pad_token": "[PAD]"}, and adds them; returns how many were not added before.

        Errors: ValueError for an unknown role or what is no token.
        """
        replace = replace_extra_special_tokens if replace_additional_special_tokens is None else replace_additional_special_tokens
        added: list[Any] = []
        for name, value in dict(special_tokens_dict).items():
            if name in ("additional_special_tokens", "extra_special_tokens"):
                if not isinstance(value, (list, tuple)) or not all(isinstance(t, (str, AddedToken)) for t in value):
                    raise ValueError(f"[tokenizer] {name}: expected a list of str or AddedToken, got {value!r}")
                new = [str(t) for t in value]
                old = [] if replace and new else self.extra_special_tokens
                self._core.config.extra_special_tokens = [*old, *(t for t in new if t not in old)]
                added += value
                continue
            if name not in _ROLES and name not in self._named:
                raise ValueError(f"[tokenizer] add_special_tokens: expected one of {', '.join((*_ROLES, *self._named, 'extra_special_tokens'))}, got {name!r}")
            if not isinstance(value, (str, AddedToken)):
                raise ValueError(f"[tokenizer] {name}: expected a str or an AddedToken, got {value!r}")
            if name in _ROLES:
                setattr(self, name, value)
            else:
                self._named[name] = str(value)
            added.append(value)
        return self.add_tokens(added, special_tokens=True)

    # Special tokens
    @property
    def special_tokens_map(self) -> dict[str, str]:
        roles = {r: self._core.role(Role.__members__[r]) for r in _ROLES}
        return {**{r: token for r, token in roles.items() if token}, **self._named}

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens without a role."""
        return self._core.config.extra_special_tokens

    @extra_special_tokens.setter
    def extra_special_tokens(self, value: "Iterable[str] | None") -> None:
        if value is not None and not isinstance(value, (list, tuple)):
            raise ValueError(f"[tokenizer] extra_special_tokens: expected a list, got {type(value).__name__}")
        self._core.config.extra_special_tokens = [str(t) for t in value or ()]

    additional_special_tokens = extra_special_tokens

    @property
    def extra_special_tokens_ids(self) -> list[int]:
        return self.convert_tokens_to_ids(self.extra_special_tokens)

    additional_special_tokens_ids = extra_special_tokens_ids

    @property
    def all_special_tokens(self) -> list[str]:
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self.extra_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        return self.convert_tokens_to_ids(self.all_special_tokens)


def _as_added(token: Any, special: bool) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=special)
    if special and not token.special:
        return AddedToken(token.content, single_word=token.single_word, lstrip=token.lstrip, rstrip=token.rstrip, normalized=token.normalized, special=True)
    return token


def _role_properties(role: str) -> tuple[property, property]:
    key = Role.__members__[role]

    def get(self: SpecialTokens) -> "str | None":
        return self._core.role(key) or None

    def set_token(self: SpecialTokens, value: Any) -> None:
        if value is not None and not isinstance(value, (str, AddedToken)):
            raise ValueError(f"[tokenizer] {role}: expected a str, an AddedToken or None, got {value!r}")
        self._core.name_role(key, "" if value is None else str(value))

    def get_id(self: SpecialTokens) -> "int | None":
        token = self._core.role(key)
        return self.convert_tokens_to_ids(token) if token else None

    def set_id(self: SpecialTokens, value: "int | None") -> None:
        token = None if value is None else self.convert_ids_to_tokens(value)
        if value is not None and not isinstance(token, str):
            raise ValueError(f"[tokenizer] {role}_id: expected an id of the vocabulary or None, got {value!r}")
        set_token(self, token)

    return property(get, set_token, doc=f"The {role.replace('_', ' ')}, or None."), property(get_id, set_id, doc=f"The id of the {role.replace('_', ' ')}.")


for _role in _ROLES:
    _token, _id = _role_properties(_role)
    setattr(SpecialTokens, _role, _token)
    setattr(SpecialTokens, f"{_role}_id", _id)
