"""Control tokens that users write into a conversation: in the prompt they are text, and only those of the chat template itself are tokens."""
from __future__ import annotations

import functools
import re
from typing import Any, Iterable

# Around a control token in what users wrote, until the template is rendered. Unicode keeps these two for such uses: they are no characters.
_BEGIN, _END = "\ufdd0", "\ufdd1"


def _any_of(tokens: Iterable[str]) -> str:
    """A pattern of the tokens, the longest first: it is meant where it holds a shorter one."""
    return "|".join(re.escape(t) for t in sorted(tokens, key=len, reverse=True)) or "(?!)"


@functools.lru_cache(maxsize=64)
def _literals(template: str) -> str:
    """What a chat template writes itself: its text and the strings in its expressions, one after another."""
    import jinja2.nodes

    from .chat_template import compile_template

    tree = compile_template(template).environment.parse(template)
    texts = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    texts += [node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)]
    return "\0".join(texts)  # a token must not be found across two of them


def tokens_to_mark(added: Iterable[Any], template: str, named: "Iterable[str] | None") -> list[str]:
    """The control tokens among added tokens: the special ones, and those that are named; without names, those that the template writes and
    that are not white space, which templates write as text."""
    if named is not None:
        names = set(named)
        return [t.content for t in added if t.special or t.content in names]
    written = _literals(template)
    return [t.content for t in added if t.special or (t.content in written and not t.content.isspace())]


class Marker:
    """Puts marks around control tokens in texts, and in the texts of lists and dicts; keys of dicts stay as they are."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = re.compile(_any_of(tokens))

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            # a mark that is there already would be a forged one
            return self._tokens.sub(f"{_BEGIN}\\g<0>{_END}", value.replace(_BEGIN, "").replace(_END, ""))
        if isinstance(value, dict):
            return {k: self(v) for k, v in value.items()}
        return [self(v) for v in value] if isinstance(value, (list, tuple)) else value


def encode_marked(tokenizer: Any, prompt: str) -> list[int]:
    """The ids of a prompt whose marked tokens are text. A mark alone, from a template that cut a text, goes, but what stands around it
    does not become one token. Errors: ValueError if the tokenizer makes the control token from its text."""
    marked = re.compile(f"{_BEGIN}({_any_of(tokenizer.added_tokens_encoder)}){_END}|[{_BEGIN}{_END}]")
    line_end = tokenizer.encode("\n", add_special_tokens=False)

    def encode(text: str, is_plain: bool) -> list[int]:
        return tokenizer.backend_tokenizer.encode_plain(text) if is_plain else tokenizer.encode(text, add_special_tokens=False)

    first, *parts = marked.split(prompt)
    ids = encode(first, False)
    for i, part in enumerate(parts):
        if not part:
            continue
        is_plain = i % 2 == 0  # split() gives text and marked token in turn
        # the start of a text may get a space before it, so the part follows the end of a line
        found = encode("\n" + part, is_plain)
        found = found[len(line_end):] if found[: len(line_end)] == line_end else encode(part, is_plain)
        if is_plain and tokenizer.convert_tokens_to_ids(part) in found:
            raise ValueError(f"[apply_chat_template] sanitize_control_tokens: the tokenizer makes {part!r} from its text")
        ids += found
    return ids
