"""Fewer word vectors: the pieces of a WordPiece vocabulary that a domain uses."""
from __future__ import annotations

import json
import pathlib
import tempfile
from collections import Counter
from typing import Any, Iterable

from ..tokenization import AutoTokenizer


def trim_vocabulary(tokenizer: Any, texts: Iterable[str], max_pieces: "int | None" = None) -> tuple[Any, list[int]]:
    """A tokenizer with the pieces that occur in `texts`, and their former ids, which are the rows of the model's table to keep.

    Special tokens and single characters always stay, so that every text that had pieces still has some. max_pieces: the most frequent
    ones, at most so many. Use the second with student_from_teacher(kept_ids=...).
    Errors: TypeError for a tokenizer that is not WordPiece; ValueError if max_pieces leaves no room for special tokens and characters.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        path = pathlib.Path(folder, "tokenizer.json")
        rules = json.loads(path.read_text(encoding="utf8"))
        if rules["model"].get("type") != "WordPiece":
            raise TypeError(f"[trim_vocabulary] expected a WordPiece tokenizer, got {rules['model'].get('type')}")
        old: dict[str, int] = rules["model"]["vocab"]
        prefix = rules["model"].get("continuing_subword_prefix", "##")
        counts = Counter(i for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for i in ids)
        special = {t["content"] for t in rules.get("added_tokens", ())} | {rules["model"].get("unk_token", "[UNK]")}
        kept = {i for piece, i in old.items() if piece in special or len(piece.removeprefix(prefix)) == 1}
        if max_pieces is not None and max_pieces < len(kept):
            raise ValueError(f"[trim_vocabulary] max_pieces: expected at least {len(kept)} (special tokens and characters), got {max_pieces}")
        for i, _ in counts.most_common():
            if max_pieces is not None and len(kept) >= max_pieces:
                break
            kept.add(i)
        order = sorted(kept)
        new = {i: n for n, i in enumerate(order)}
        rules["model"]["vocab"] = {piece: new[i] for piece, i in old.items() if i in new}
        for token in rules.get("added_tokens", ()):
            token["id"] = new[token["id"]]
        for token in (rules.get("post_processor") or {}).get("special_tokens", {}).values():
            token["ids"] = [new[i] for i in token["ids"]]
        for name in ("sep", "cls"):  # of the older BertProcessing
            if isinstance((rules.get("post_processor") or {}).get(name), list):
                piece, i = rules["post_processor"][name]
                rules["post_processor"][name] = [piece, new[i]]
        path.write_text(json.dumps(rules, ensure_ascii=False), encoding="utf8")
        settings = pathlib.Path(folder, "tokenizer_config.json")
        if settings.exists():
            stored = json.loads(settings.read_text(encoding="utf8"))
            stored["added_tokens_decoder"] = {str(new[int(i)]): token for i, token in stored.get("added_tokens_decoder", {}).items() if int(i) in new}
            settings.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf8")
        for name in ("vocab.txt", "added_tokens.json"):
            pathlib.Path(folder, name).unlink(missing_ok=True)
        return AutoTokenizer.from_pretrained(folder), order
