"""Chat templates: conversations to prompts through Jinja, as Transformers renders them. Templates are untrusted: they run in a sandbox
and see plain data only."""
from __future__ import annotations

import functools
import re
from typing import Any, Callable, Mapping, Sequence

from . import _core, hub
from .control_tokens import Marker, encode_marked, tokens_to_mark
from .padding import truncation_of

_CONTINUE = "CONTINUE_FINAL_MESSAGE_TAG "
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of a message's reasoning, the usual one first


@functools.lru_cache(maxsize=64)
def compile_template(source: str) -> Any:
    """The template in Transformers' environment. Errors: ImportError without Jinja 3.1.6; jinja2.TemplateError for damaged templates."""
    try:
        import jinja2
        import jinja2.ext
        import jinja2.nodes
        import jinja2.sandbox
        import jinja2.utils
    except ImportError:
        raise ImportError("[apply_chat_template] needs jinja2 (pip install 'tenon-ml[chat]')") from None
    if tuple(int(n) for n in re.findall(r"\d+", jinja2.__version__)[:3]) < (3, 1, 6):
        raise ImportError(f"[apply_chat_template] expected jinja2 3.1.6 or later, whose sandbox holds, got {jinja2.__version__}")

    class GenerationTag(jinja2.ext.Extension):  # type: ignore[misc]
        """{% generation %} ... {% endgeneration %} around what the assistant says."""

        tags = {"generation"}

        def __init__(self, environment: Any) -> None:
            super().__init__(environment)
            environment.extend(generation_tracker=_Tracker())

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Callable[[], str]) -> str:
            text = caller()
            self.environment.generation_tracker.add(len(text))
            return text

    class Namespace(jinja2.utils.Namespace):  # type: ignore[misc]
        """Without names that lead into the interpreter."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            self, values = args[0], dict(*args[1:], **kwargs)
            for name in values:
                _check_name(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name: str, value: Any) -> None:
            _check_name(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

    def _check_name(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"[chat template] namespace: expected names without a leading underscore, got {name!r}")

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
        import json  # Jinja's own filter would escape HTML

        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form: str) -> str:
        import datetime

        return datetime.datetime.now().strftime(form)

    class Dict:
        """dict() in a template, without the type behind it."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args, **kwargs)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, dict=Dict(), namespace=Namespace)
    return environment.from_string(source)


class _Tracker:
    """Where the parts between generation tags lie in the text that is being rendered; each thread has its own."""

    def __init__(self) -> None:
        import threading

        self._local = threading.local()

    def begin(self) -> "list[str]":
        self._local.blocks, self._local.spans = [], []
        return self._local.blocks

    def add(self, length: int) -> None:
        blocks = getattr(self._local, "blocks", None)
        if blocks is not None:
            start = sum(map(len, blocks))
            self._local.spans.append((start, start + length))

    def end(self) -> "list[tuple[int, int]]":
        spans = self._local.spans
        self._local.blocks = self._local.spans = None
        return spans


def _plain(value: Any) -> Any:
    """JSON-like data of exact built-in types; other objects become a placeholder that names their type."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for base in (str, int, float):
        if isinstance(value, base):
            return getattr(base, f"__{base.__name__}__")(value)
    if isinstance(value, Mapping):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [_plain(v) for v in value]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: _plain(getattr(value, name)) for name in fields}
    if callable(getattr(value, "model_dump", None)):
        return _plain(value.model_dump())
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 and hasattr(value, "item"):
        return _plain(value.item())
    return f"<{type(value).__name__}>"


def _messages(conversation: Any) -> list[dict[str, Any]]:
    """The messages as dicts without the keys whose value is None, and with reasoning under the names that templates read."""
    out = []
    for message in _plain(list(getattr(conversation, "messages", conversation))):
        if not isinstance(message, dict):
            raise TypeError(f"[apply_chat_template] messages: expected dicts, dataclasses or pydantic models, got {message!r}")
        message = {k: v for k, v in message.items() if v is not None}
        reasoning = next((message[k] for k in _REASONING if k in message), None)
        out.append(message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning})
    return out


def _tool_schemas(tools: "Sequence[Any] | None") -> "list[dict[str, Any]] | None":
    if tools is None:
        return None
    schemas = []
    for tool in tools:
        if not isinstance(tool, dict):
            if not callable(tool) or isinstance(tool, type):
                raise ValueError(f"[apply_chat_template] tools: expected JSON schemas or functions with type hints and a docstring, got {type(tool).__name__}")
            from .tool_schema import get_json_schema

            tool = get_json_schema(tool)
        schemas.append(_plain(tool))
    return schemas


def _mark_last(messages: list[dict[str, Any]], key: Any, template: str) -> str:
    """Puts a mark behind the text that shall be continued, and returns that text."""
    key = key if isinstance(key, str) else "content"
    where = "[apply_chat_template] continue_final_message"
    if not messages or messages[-1].get(key) is None:
        raise ValueError(f"{where}: expected the last message to have {key!r}")
    last = messages[-1]
    final = last[key]
    keys = [k for k in _REASONING if last.get(k) == final] if key in _REASONING else [key]
    if not any(k in template for k in keys):
        raise ValueError(f"{where}: expected a field that the chat template reads, got {key!r}")
    if isinstance(final, (list, tuple)):
        block = next((b for b in reversed(final) if isinstance(b, dict) and "text" in b), None)
        if block is None:
            raise ValueError(f"{where}: expected a text in the last message")
        text = block["text"]
        block["text"] = text + _CONTINUE
        return text
    for k in keys:
        last[k] = last[k] + _CONTINUE
    return final


def _cut_at_mark(rendered: str, final: str) -> str:
    mark = _CONTINUE.strip()
    if final.strip() not in rendered or mark not in rendered:
        raise ValueError("[apply_chat_template] continue_final_message: expected the chat template to write the last message as it is, got a changed one")
    at = rendered.rindex(mark)
    return rendered[:at] if rendered.startswith(_CONTINUE, at) else rendered[:at].rstrip()


def render(conversations: Sequence[Any], template: str, *, tools: Any = None, documents: Any = None, add_generation_prompt: bool = False,
           continue_final_message: Any = False, track_generation: bool = False, mark: "Callable[[Any], Any]" = lambda value: value,
           fixed: "Mapping[str, Any] | None" = None, **variables: Any) -> "tuple[list[str], list[list[tuple[int, int]]]]":
    """The prompts of conversations, and with track_generation where the assistant's parts lie in each. mark() is done to all that users
    wrote, which `fixed` variables are not.

    Errors: ValueError and TypeError for what no template can show; jinja2.TemplateError for what this one refuses.
    """
    if track_generation and not re.search(r"\{%-?\s*generation\s*-?%\}", template):
        hub.warn("return_assistant_tokens_mask needs a chat template with {% generation %}; the masks will be 0", once=True)
    if documents is not None and not all(isinstance(d, dict) for d in documents):
        raise TypeError("[apply_chat_template] documents: expected dicts with \"title\" and \"text\"")
    compiled = compile_template(template)
    shared = {**_plain(fixed or {}), **mark(_plain(variables)), "tools": mark(_tool_schemas(tools)), "documents": mark(_plain(documents)),
              "add_generation_prompt": add_generation_prompt}
    texts, spans = [], []
    for conversation in conversations:
        messages = mark(_messages(conversation))
        final = _mark_last(messages, continue_final_message, template) if continue_final_message else ""
        if track_generation:
            tracker = compiled.environment.generation_tracker
            blocks = tracker.begin()
            try:
                for block in compiled.generate(messages=messages, **shared):
                    blocks.append(block)
                text = "".join(blocks)
            finally:
                spans.append(tracker.end())
        else:
            text = compiled.render(messages=messages, **shared)
        texts.append(_cut_at_mark(text, final) if continue_final_message else text)
    return texts, spans


def assistant_mask(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """1 for the tokens that overlap one of the spans, both in order."""
    mask, at = [0] * len(offsets), 0
    for i, (begin, end) in enumerate(offsets):
        while at < len(spans) and begin >= spans[at][1]:
            at += 1
        if at == len(spans):
            break
        mask[i] = int(end > spans[at][0])
    return mask


class ChatTemplates:
    """The part of a tokenizer that speaks with chat models. `chat_template` is a template, or a dict of templates by name, or None;
    `chat_control_tokens` are added tokens that sanitize_control_tokens keeps out of what users write, beside the special ones (default:
    those that the template writes)."""

    chat_template: "str | dict[str, str] | None" = None
    chat_control_tokens: "list[str] | None" = None
    special_tokens_map: Any

    def get_chat_template(self, chat_template: "str | None" = None, tools: Any = None) -> str:
        """The template that a call would use: the argument (a template or the name of one), or the tokenizer's own.

        Errors: ValueError if there is none.
        """
        own = self.chat_template
        if isinstance(own, dict):
            if chat_template is not None:
                return own.get(chat_template, chat_template)
            for name in (("tool_use",) if tools is not None else ()) + ("default",):
                if name in own:
                    return own[name]
            raise ValueError(f"[chat template] expected the name of one of the tokenizer's templates: {', '.join(sorted(own))}")
        if chat_template is None and own is None:
            raise ValueError("[chat template] expected a tokenizer with a chat_template; set tokenizer.chat_template or pass chat_template=")
        return own if chat_template is None else chat_template  # type: ignore[return-value]

    def apply_chat_template(self, conversation: Any, tools: Any = None, documents: Any = None, chat_template: "str | None" = None,
                            add_generation_prompt: bool = False, continue_final_message: "bool | str" = False, tokenize: bool = True,
                            sanitize_control_tokens: bool = False, padding: Any = False, truncation: Any = False, max_length: "int | None" = None,
                            return_tensors: Any = None, return_dict: bool = True, return_assistant_tokens_mask: bool = False,
                            tokenizer_kwargs: "dict[str, Any] | None" = None, **kwargs: Any) -> Any:
        """The prompt of a conversation (a list of {"role", "content"}) or of several, encoded or, with tokenize=False, as text.

        Further arguments go to the template. With sanitize_control_tokens the control tokens in messages, tools, documents and further
        arguments are encoded as text, so that only the template writes real ones; one that a template joins from parts is not found. Errors:
        ValueError without a template, for an empty conversation, for options that exclude each other; jinja2.TemplateError for what the
        template refuses; ImportError without jinja2.
        """
        return_dict = return_dict and tokenize
        if return_assistant_tokens_mask and not return_dict:
            raise ValueError("[apply_chat_template] return_assistant_tokens_mask: expected return_dict=True and tokenize=True")
        if continue_final_message and (add_generation_prompt or return_assistant_tokens_mask):
            raise ValueError("[apply_chat_template] continue_final_message: expected neither add_generation_prompt nor return_assistant_tokens_mask beside it")
        if sanitize_control_tokens and (not tokenize or return_assistant_tokens_mask):
            raise ValueError("[apply_chat_template] sanitize_control_tokens: expected tokenize=True and no return_assistant_tokens_mask")
        template = self.get_chat_template(chat_template, tools)
        if isinstance(conversation, (list, tuple)) and not conversation:
            raise ValueError("[apply_chat_template] conversation: expected at least one message")
        is_batch = isinstance(conversation, (list, tuple)) and (isinstance(conversation[0], (list, tuple)) or hasattr(conversation[0], "messages"))
        options: dict[str, Any] = {}
        if sanitize_control_tokens:
            added = self.added_tokens_decoder.values()  # type: ignore[attr-defined]
            options["mark"] = Marker(tokens_to_mark(added, template, self.chat_control_tokens))
        texts, spans = render(conversation if is_batch else [conversation], template, tools=tools, documents=documents,
                              add_generation_prompt=add_generation_prompt, continue_final_message=continue_final_message,
                              track_generation=return_assistant_tokens_mask, fixed=self.special_tokens_map, **options, **kwargs)
        rendered: Any = texts if is_batch else texts[0]
        if not tokenize:
            return rendered
        if sanitize_control_tokens:
            out = self._encode_sanitized(texts, is_batch or return_tensors is not None, padding, truncation, max_length,
                                         return_tensors=return_tensors, **(tokenizer_kwargs or {}))
            return out if return_dict else out["input_ids"]
        out = self(rendered, padding=padding, truncation=truncation, max_length=max_length, add_special_tokens=False,  # type: ignore[operator]
                   return_tensors=return_tensors, **(tokenizer_kwargs or {}))
        if not return_dict:
            return out["input_ids"]
        if return_assistant_tokens_mask:
            masks: Any = [assistant_mask(e.offsets, s) for e, s in zip(out.encodings, spans)]
            out["assistant_masks"] = masks if is_batch or return_tensors else masks[0]
            out.convert_to_tensors(return_tensors)
        return out

    def _encode_sanitized(self, texts: list[str], is_batch: bool, padding: Any, truncation: Any, max_length: "int | None", **options: Any) -> Any:
        """The ids of prompts with marks. Their parts are encoded apart, so that there are no offsets."""
        rows = [encode_marked(self, text) for text in texts]
        if truncation_of(truncation) != _core.Truncation.none:
            limit = self.model_max_length if max_length is None else max_length  # type: ignore[attr-defined]
            is_left = self.truncation_side == "left"  # type: ignore[attr-defined]
            rows = [row if len(row) <= limit else row[len(row) - limit:] if is_left else row[:limit] for row in rows]
        return self.pad({"input_ids": rows if is_batch else rows[0]}, padding, max_length, **options)  # type: ignore[attr-defined]

    def encode_message_with_chat_template(self, message: dict[str, Any], conversation_history: "list[dict[str, Any]] | None" = None, **kwargs: Any) -> list[int]:
        """The ids that a message adds to a conversation."""
        if "add_generation_prompt" in kwargs:
            raise ValueError("[encode_message_with_chat_template] expected no add_generation_prompt; add the prompt for the answer behind the messages")
        history = list(conversation_history or ())
        ids = self.apply_chat_template([*history, message], return_dict=False, **kwargs)
        before = self.apply_chat_template(history, return_dict=False, **kwargs) if history else []
        same = next((i for i, (a, b) in enumerate(zip(before, ids)) if a != b), min(len(before), len(ids)))
        return ids[same:]
