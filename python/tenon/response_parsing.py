"""What a chat model wrote as the message that it means: a response template names the fields of the message and the marks between which
their text stands. Text may come whole or in parts."""
from __future__ import annotations

import copy
from typing import Any, Iterable, Mapping, Sequence

from .response_values import PARSERS, STREAMED, check_transform, fill_transform, parse_content, regex, type_arguments

_TEMPLATE_KEYS = frozenset({"version", "defaults", "fields", "start_anchor", "start_anchor_pattern"})
_FIELD_KEYS = frozenset({"open", "open_pattern", "close", "close_pattern", "content", "content_args", "repeats", "join", "optional", "transform",
                         "transform_each"})
_WHERE = "[response_template]"


class Mark:
    """What a region starts or ends with: one text of several, or a pattern (of the package regex)."""

    def __init__(self, source: Any, is_pattern: bool, where: str) -> None:
        self.is_pattern = is_pattern
        if is_pattern:
            try:
                self.pattern = regex.compile(source, regex.DOTALL)
            except regex.error as error:
                raise ValueError(f"{where}: expected a pattern, got {source!r} ({error})") from error
            self.may_grow = True
            return
        texts = source if isinstance(source, list) else [source]
        if not texts or not all(isinstance(t, str) and t for t in texts):
            raise ValueError(f"{where}: expected a text or a list of texts, none of them empty, got {source!r}")
        # of two texts that start at one place the longer one is meant
        self.pattern = regex.compile("|".join(regex.escape(t) for t in sorted(texts, key=len, reverse=True)), regex.DOTALL)
        self.may_grow = any(a != b and a.startswith(b) for a in texts for b in texts)

    @classmethod
    def of(cls, spec: Mapping[str, Any], name: str, where: str) -> "Mark | None":
        """The mark under `name` or `name`_pattern."""
        given = [key for key in (name, f"{name}_pattern") if key in spec]
        if len(given) == 2:
            raise ValueError(f"{where}: expected {name} or {name}_pattern, got both")
        return cls(spec[given[0]], given[0] != name, f"{where}: {given[0]}") if given else None

    def find(self, text: str, at: int, is_end: bool) -> tuple[Any, int]:
        """The first match from `at` on, and where the part of the text starts that more text may make a match of. With is_end no more comes."""
        if is_end:
            return self.pattern.search(text, at), len(text)
        found = self.pattern.search(text, at, partial=True)
        if found is None:
            return None, len(text)
        return (None, found.start()) if found.partial or self._may_change(found, text) else (found, len(text))

    def _may_change(self, found: Any, text: str) -> bool:
        if found.end() == len(text):
            return found.start() == found.end() or self.may_grow
        if not self.is_pattern:
            return False
        # a pattern can ask for the end of the text, also behind the match: does it match if a character follows?
        longer = self.pattern.match(text + "\0", found.start())
        return longer is None or longer.span() != found.span() or longer.groupdict() != found.groupdict()


class Field:
    """One field of the message."""

    def __init__(self, name: str, spec: Any) -> None:
        where = f"{_WHERE} field {name!r}"
        if not isinstance(spec, dict):
            raise ValueError(f"{where}: expected a dict, got {type(spec).__name__}")
        _refuse(spec.keys() - _FIELD_KEYS, _FIELD_KEYS, where)
        self.name = name
        self.content = spec.get("content", "text")
        if self.content not in PARSERS:
            raise ValueError(f"{where}: content: expected one of {', '.join(sorted(PARSERS))}, got {self.content!r}")
        self.options = spec.get("content_args", {})
        self.opens, self.closes = Mark.of(spec, "open", where), Mark.of(spec, "close", where)
        self.repeats, self.is_optional = spec.get("repeats", False), spec.get("optional", True)
        self.join, self.transform, self.is_each = spec.get("join"), spec.get("transform"), spec.get("transform_each", False)
        if self.join is not None and not (isinstance(self.join, str) and self.repeats):
            raise ValueError(f"{where}: join: expected a text, beside repeats, got {self.join!r}")
        if not isinstance(self.is_each, bool) or (self.is_each and self.transform is None):
            raise ValueError(f"{where}: transform_each: expected true or false, beside a transform, got {self.is_each!r}")
        check_transform(self.transform, where)
        groups = sorted({group for mark in (self.opens, self.closes) if mark for group in mark.pattern.groupindex})
        if groups and self.transform is None:
            raise ValueError(f"{where}: expected a transform, which alone shows the groups {', '.join(groups)} of its patterns")

    def value(self, text: str, groups: Mapping[str, Any]) -> Any:
        """What stands in the message for the text of a region. Errors: ValueError, KeyError (see response_values.py)."""
        value = parse_content(text, self.content, self.options)
        if self.transform is None:
            return value
        if not self.is_each:
            return fill_transform(self.transform, {**groups, "content": value})
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ValueError(f"[parse_response] field {self.name!r}: transform_each: expected a list of dicts, got {value!r}")
        return [fill_transform(self.transform, {**groups, **item}) for item in value]


def _refuse(unknown: Iterable[str], known: Iterable[str], where: str) -> None:
    if unknown:
        raise ValueError(f"{where}: expected {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")


class ResponseTemplate:
    """A response template that was read. Errors: ValueError naming what is wrong; ImportError without the package regex."""

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, dict):
            raise ValueError(f"{_WHERE} expected a dict, got {type(spec).__name__}")
        if spec.get("version", 1) != 1:
            raise ValueError(f"{_WHERE} version: expected 1, got {spec['version']!r}")
        _refuse(spec.keys() - _TEMPLATE_KEYS, _TEMPLATE_KEYS, _WHERE)
        self.defaults, fields = spec.get("defaults", {}), spec.get("fields", {})
        if not isinstance(self.defaults, dict) or not isinstance(fields, dict) or not fields:
            raise ValueError(f"{_WHERE} expected a dict of fields and, if given, one of defaults")
        self.fields = {name: Field(name, field) for name, field in fields.items()}
        rest = [field.name for field in self.fields.values() if field.opens is None]
        if len(rest) > 1:
            raise ValueError(f"{_WHERE} fields: expected at most one without open or open_pattern, got {', '.join(rest)}")
        self.rest = self.fields[rest[0]] if rest else None  # takes what stands in no other field
        anchor = Mark.of(spec, "start_anchor", _WHERE)
        if anchor is None:
            raise ValueError(f"{_WHERE} expected start_anchor or start_anchor_pattern")
        self.anchor = anchor

    def last_turn(self, prompt: str) -> str:
        """What a prompt says behind the last start_anchor, which is where the message starts; all of it where there is none."""
        end = 0
        for found in self.anchor.pattern.finditer(prompt):
            end = found.end()
        return prompt[end:]


class ResponseParser:
    """Reads an answer as it comes. feed() and finalize() return events: {"type": "region_open", "field"}; "region_chunk" with "text", and
    "dirty" where the text is no part of the value; "region_close" with "value". `initial_events` are those of the prompt's own part of
    the message.

    `prefix` is the prompt, "" for one that says nothing of the message. The arguments of calls of `tools` get the types of their schemas.
    Errors: ValueError for a template that is none, and for text that a field's parser does not take.
    """

    def __init__(self, response_template: Any, prefix: "str | None" = None, *, tools: "Sequence[Any] | None" = None) -> None:
        template = response_template if isinstance(response_template, ResponseTemplate) else ResponseTemplate(response_template)
        if prefix is None:
            raise ValueError("[parse_response] expected prefix, the prompt: chat templates may write the start of the answer; prefix=\"\" says that there is none")
        self._template = template
        self._tools = _parameters_of(tools or ())
        self._text, self._at = "", 0
        self._message: dict[str, Any] = copy.deepcopy(template.defaults)
        self._is_done = False
        self._enter(template.rest)
        self.initial_events: list[dict[str, Any]] = []
        self._text = template.last_turn(prefix)
        if self._text:
            self._read(self.initial_events, False)

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Takes a part of the answer; returns the events up to where more text could change what it means."""
        self._check_open()
        self._text += text
        events: list[dict[str, Any]] = []
        self._read(events, False)
        return events

    def finalize(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Takes the end of the answer; returns the message and the last events. Errors: ValueError if a required field is missing."""
        self._check_open()
        events: list[dict[str, Any]] = []
        self._read(events, True)
        missing = [name for name, field in self._template.fields.items() if not field.is_optional and name not in self._message]
        if missing:
            raise ValueError(f"[parse_response] expected {', '.join(missing)} in the answer")
        # 0 and False say something
        self._message = {k: v for k, v in self._message.items() if k in self._template.defaults or v not in (None, "", [], {})}
        self._is_done = True
        return self._message, events

    def _check_open(self) -> None:
        if self._is_done:
            raise RuntimeError("[ResponseParser] expected no text behind finalize()")

    def _enter(self, field: "Field | None", groups: "dict[str, Any] | None" = None) -> None:
        self._field, self._groups, self._parts = field, groups or {}, list[str]()
        self._is_open = groups is not None  # a region without a mark opens with its first text

    def _marks(self) -> list[tuple[Field, bool, Mark]]:
        """The marks that mean something here, and whether they open their fields."""
        rest, field = self._template.rest, self._field
        if field is not rest and field is not None:
            return [(field, False, field.closes)] if field.closes else []
        opening = [(f, True, f.opens) for f in self._template.fields.values() if f.opens]
        return [*opening, (rest, False, rest.closes)] if rest and rest.closes else opening  # type: ignore[list-item]

    def _next_mark(self, is_end: bool) -> tuple[Any, int]:
        """The field, kind and match of the first mark, the longest of several at one place, or None; and how far the text before is final."""
        found, final = [], len(self._text)
        for field, opens, mark in self._marks():
            match, pending = mark.find(self._text, self._at, is_end)
            final = min(final, pending)
            if match is not None:
                found.append(((match.start(), -match.end(), not opens, field.name), (field, opens, match)))
        first = min(found, key=lambda f: f[0], default=None)
        # a mark that has only begun may be the first one
        if first is None or first[0][0] >= final:
            return None, final
        return first[1], final

    def _read(self, events: list[dict[str, Any]], is_end: bool) -> None:
        while True:
            found, final = self._next_mark(is_end)
            if found is None:
                break
            field, opens, match = found
            self._add(events, match.start())
            self._at = match.end()
            was_open = self._is_open
            groups = {k: v for k, v in match.groupdict().items() if v is not None}
            if opens:
                self._leave(events)
                self._enter(field, groups)
                events.append({"type": "region_open", "field": field.name})
                continue
            self._groups.update(groups)
            self._leave(events)
            if not was_open and match.start() == match.end():
                return  # an empty match that would be found for ever
        self._add(events, final)
        if is_end:
            self._leave(events)

    def _add(self, events: list[dict[str, Any]], end: int) -> None:
        """Takes the text up to `end` into the region."""
        text, self._at = self._text[self._at:end], max(self._at, end)
        if not text or self._field is None:
            return
        name = self._field.name
        if not self._is_open:
            events.append({"type": "region_open", "field": name})
        self._is_open = True
        self._parts.append(text)
        events.append({"type": "region_chunk", "field": name, "text": text, "dirty": self._field.content not in STREAMED})

    def _leave(self, events: list[dict[str, Any]]) -> None:
        """Closes the region, if there is one."""
        field = self._field
        if field is not None and self._is_open:
            value = field.value("".join(self._parts), self._groups)
            if self._tools:
                value = type_arguments(value, self._tools)
            before = self._message.get(field.name)
            if field.join is not None:
                if not isinstance(value, str):
                    raise ValueError(f"[parse_response] field {field.name!r}: join: expected texts, got {type(value).__name__}")
                self._message[field.name] = value if before is None else before + field.join + value
            elif field.repeats:
                self._message.setdefault(field.name, []).append(value)
            else:
                self._message[field.name] = value
            events.append({"type": "region_close", "field": field.name, "value": value})
        self._enter(self._template.rest)


def _parameters_of(tools: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The schemas of the parameters of each tool."""
    import inspect

    out = {}
    for tool in tools:
        if inspect.isfunction(tool) or inspect.ismethod(tool):
            from .tool_schema import get_json_schema

            tool = get_json_schema(tool)
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            parameters = function.get("parameters")
            properties = parameters.get("properties") if isinstance(parameters, dict) else None
            out[function["name"]] = properties if isinstance(properties, dict) else {}
    return out


def parse_response(text: str, response_template: Any, *, prefix: "str | None" = None, tools: "Sequence[Any] | None" = None) -> dict[str, Any]:
    """The message of a whole answer. Errors: as ResponseParser's and finalize()'s."""
    parser = ResponseParser(response_template, prefix, tools=tools)
    parser.feed(text)
    return parser.finalize()[0]


class ResponseReader:
    """The part of a tokenizer that reads answers. `response_template` is a template as tokenizer_config.json has it, or None."""

    response_template: "dict[str, Any] | None" = None

    def parse_response(self, response: Any, schema: Any = None, *, prefix: Any = None, tools: "Sequence[Any] | None" = None) -> Any:
        """The message (a dict) of an answer, a text or ids; of a batch of either the messages. `schema` replaces the response template,
        `prefix` is the prompt or one for each, with tools the arguments of calls get the types of their schemas.

        Errors: AttributeError without a response template; ValueError without a prefix, for another number of prefixes than answers, for a
        template or an answer that does not fit; ImportError without the package regex.
        """
        template = ResponseTemplate(self._template_for(schema))
        if prefix is None:
            raise ValueError("[parse_response] expected prefix, the prompt: chat templates may write the start of the answer; prefix=\"\" says that there is none")
        texts, is_batch = self._texts_of(response)
        if isinstance(prefix, (list, tuple)) and not prefix:
            prefix = ""
        prefixes, has_several = self._texts_of(prefix)
        if has_several and len(prefixes) != len(texts):
            raise ValueError(f"[parse_response] prefix: expected one for all or one for each of {len(texts)} answers, got {len(prefixes)}")
        messages = [parse_response(text, template, prefix=before, tools=tools)
                    for text, before in zip(texts, prefixes if has_several else prefixes * len(texts))]
        return messages if is_batch else messages[0]

    def get_response_parser(self, response_template: Any = None, *, prefix: Any = None, tools: "Sequence[Any] | None" = None) -> ResponseParser:
        """Reads one answer as it comes. Errors: as parse_response()'s."""
        template = self._template_for(response_template)
        if prefix is not None and not isinstance(prefix, str):
            prefix = self.decode(prefix)  # type: ignore[attr-defined]
            if not isinstance(prefix, str):
                raise ValueError("[get_response_parser] prefix: expected one prompt, got several")
        return ResponseParser(template, prefix, tools=tools)

    def _template_for(self, given: Any) -> Any:
        template = self.response_template if given is None else given
        if template is None:
            raise AttributeError("[parse_response] expected a tokenizer with a response_template; set it or pass one")
        return template

    def _texts_of(self, given: Any) -> tuple[list[str], bool]:
        """Texts or the texts of ids, and whether they are several."""
        if isinstance(given, str):
            return [given], False
        if isinstance(given, (list, tuple)) and (not given or isinstance(given[0], str)):
            return list(given), True
        text = self.decode(given)  # type: ignore[attr-defined]
        return ([text], False) if isinstance(text, str) else (text, True)
