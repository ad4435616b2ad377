"""What the tokenizers of translation models have beside the others: languages, and a side for what is translated into."""
from __future__ import annotations

import contextlib
from typing import Any, Iterator

from . import _core


class TranslationTokenizer:
    """Marian, whose target language has files of its own, and M2M100, NLLB and MBart, which frame a text with the token of its language."""

    _core: _core.Tokenizer
    _src_lang: "str | None"
    tgt_lang: "str | None"

    def _take(self, core: _core.Tokenizer, name_or_path: str, folder: str = "") -> None:
        super()._take(core, name_or_path, folder)  # type: ignore[misc]
        config = core.config.file or {}
        self._src_lang = config.get("src_lang", config.get("source_lang"))
        if self._src_lang is None and core.languages():
            self._src_lang = next((code for code in ("en", "eng_Latn", "en_XX") if code in core.languages()), None)
        self.tgt_lang = config.get("tgt_lang", config.get("target_lang"))

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if self._src_lang is not None and self._core.languages():
            self._core.set_language(self._src_lang)

    @property
    def src_lang(self) -> "str | None":
        """The language of texts; setting it changes the token that they are framed with. Errors: ValueError for a language not known."""
        return self._src_lang

    @src_lang.setter
    def src_lang(self, value: str) -> None:
        if self._core.languages():
            self._core.set_language(value)
        self._src_lang = value

    source_lang = src_lang

    @property
    def lang_code_to_token(self) -> dict[str, str]:
        return {code: self.get_lang_token(code) for code in self._core.languages()}

    @property
    def lang_code_to_id(self) -> dict[str, int]:
        return {code: self._core.language_id(code) for code in self._core.languages()}

    @property
    def supported_language_codes(self) -> list[str]:
        """The codes that a text for a multilingual Marian may start with, ">>fra<<"."""
        return [token for token, _ in self._core.vocab(False) if token.startswith(">>") and token.endswith("<<")]

    def get_lang_id(self, lang: str) -> int:
        """The id of a language's token: what forced_bos_token_id wants. Errors: KeyError for a language not known."""
        found = self._core.language_id(lang)
        if found < 0:
            raise KeyError(lang)
        return found

    def get_lang_token(self, lang: str) -> str:
        return self._core.id_to_token(self.get_lang_id(lang))

    def _target_core(self) -> _core.Tokenizer:
        if self._core.target is not None:
            return self._core.target
        lang = self.tgt_lang or self._src_lang
        if not self._core.languages() or lang is None:
            return self._core
        other = self._core.copy()
        other.set_language(lang)
        return other

    @contextlib.contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Within it texts are encoded as those translated into; text_target= of a call does the same for one text."""
        core, self._core = self._core, self._target_core()
        try:
            yield
        finally:
            self._core = core

    def _build_translation_inputs(self, raw_inputs: Any, src_lang: "str | None" = None, tgt_lang: "str | None" = None, **kwargs: Any) -> Any:
        if src_lang is None or tgt_lang is None:
            raise ValueError("[tokenizer] translation: expected src_lang and tgt_lang")
        self.src_lang = src_lang
        inputs = self(raw_inputs, **kwargs)  # type: ignore[operator]
        inputs["forced_bos_token_id"] = self.get_lang_id(tgt_lang)
        return inputs

    def prepare_seq2seq_batch(self, src_texts: Any, tgt_texts: Any = None, src_lang: "str | None" = None, tgt_lang: "str | None" = None,
                              max_length: "int | None" = None, max_target_length: "int | None" = None, padding: Any = "longest",
                              truncation: Any = True, **kwargs: Any) -> Any:
        """The texts, and as "labels" those translated into."""
        if src_lang is not None:
            self.src_lang = src_lang
        if tgt_lang is not None:
            self.tgt_lang = tgt_lang
        return self(src_texts, text_target=tgt_texts, max_length=max_length, padding=padding, truncation=truncation,  # type: ignore[operator]
                    **({} if max_target_length is None else {"max_target_length": max_target_length}), **kwargs)
