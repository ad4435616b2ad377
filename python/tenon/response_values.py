"""From the text of a region of an answer to its value: the content parsers that a response template may name, and its transforms."""
from __future__ import annotations

import math
import re
from typing import Any, Callable, Mapping, NoReturn

from ._lazy import LazyModule

json: Any = LazyModule("json")
# Templates are written for this module's patterns, which know more than those of the standard library.
regex: Any = LazyModule("regex", " (pip install 'tenon-ml[chat]')")


def _text(text: str, options: Mapping[str, Any]) -> str:
    return text.strip() if options.get("strip", True) else text


def _bool(text: str, options: Mapping[str, Any]) -> bool:
    return _text(text, options).lower() in ("true", "1")


# Stand for a string that was taken out of a text; models do not write them.
_HOLE_BEGIN, _HOLE_END = "\x01", "\x02"
# A quoted string, which stays as it is, or a bare key
_STRING_OR_KEY = re.compile(r'"(?:\\.|[^"\\])*"|(?<=[{,])(?P<before>\s*)(?P<key>\w+)(?P<after>\s*):')


def _json(text: str, options: Mapping[str, Any]) -> Any:
    """JSON, with what models make of it: string_delims [[open, close], ...] are marks around strings beside quotes, unquoted_keys allows
    {key: 1}, allow_non_json gives the text itself where it is no JSON."""
    quotes = options.get("string_delims", [])
    plain, strings = text, list[str]()
    if quotes and (_HOLE_BEGIN in text or _HOLE_END in text):
        raise ValueError("[parse_response] json: expected no control characters \\x01 and \\x02 in a text with string_delims")
    for begin, end in quotes:
        def take(found: Any) -> str:
            strings.append(found[1])
            return f"{_HOLE_BEGIN}{len(strings) - 1}{_HOLE_END}"

        plain = re.sub(f"{re.escape(begin)}(.*?){re.escape(end)}", take, plain, flags=re.DOTALL)
    if options.get("unquoted_keys", False):
        plain = _STRING_OR_KEY.sub(lambda m: m[0] if m["key"] is None else f'{m["before"]}"{m["key"]}"{m["after"]}:', plain)
    for i, string in enumerate(strings):
        plain = plain.replace(f"{_HOLE_BEGIN}{i}{_HOLE_END}", json.dumps(string))
    try:
        return json.loads(plain)
    except json.JSONDecodeError as error:
        if options.get("allow_non_json"):
            return _text(text, options)
        raise ValueError(f"[parse_response] json: {error}; got {text!r}" + (f", read as {plain!r}" if plain != text else "")) from error


def _inner(text: str, parser: "Mapping[str, Any] | None") -> Any:
    return text if parser is None else parse_content(text, parser.get("name", "text"), parser.get("args", {}))


def _tags(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The matches of tag_pattern, whose groups "key" and "value" say what goes where."""
    pattern = options.get("tag_pattern")
    if pattern is None:
        raise ValueError("[parse_response] xml-inline: expected tag_pattern in content_args")
    out: dict[str, Any] = {}
    several = set()  # keys whose value is a list because they came again
    for found in regex.finditer(pattern, text, flags=regex.DOTALL):
        groups = found.groupdict()
        key = groups.get("key")
        if key is None:
            raise ValueError(f"[parse_response] xml-inline: expected a group named key in tag_pattern, got {pattern}")
        value = _inner(groups.get("value", ""), options.get("value_parser"))
        if key in several:
            out[key].append(value)
        elif key in out and options.get("merge_duplicates", False):
            out[key] = [out[key], value]
            several.add(key)
        else:
            out[key] = value
    return out


def _lines(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of keys and values; others are passed over."""
    out = {}
    for line in text.split(options.get("line_sep", "\n")):
        key, mark, value = _text(line, options).partition(options.get("kv_sep", ":"))
        if mark:
            out[_text(key, options)] = _inner(_text(value, options), options.get("value_parser"))
    return out


class _Calls:
    """A list of calls as Python writes them, [name(key="value", other=[1, 2])], and nothing that would have to be evaluated."""

    SPACE = re.compile(r"[ \t\n\r]*")
    NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-.][A-Za-z0-9_]+)*")
    NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
    STRING = re.compile(r"""(['"])((?:(?!\1)[^\\\n\r]|\\.)*)\1""", re.DOTALL)
    ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
    SURROGATES = re.compile("([\ud800-\udbff])([\udc00-\udfff])")
    LONE = re.compile("[\ud800-\udfff]")
    SIMPLE = {"\\": "\\", "'": "'", '"': '"', "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
    CONSTANTS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
    LARGEST, DEEPEST = 2**53 - 1, 100  # what numbers of JavaScript hold; lists in lists

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def fail(self, wanted: str) -> NoReturn:
        raise ValueError(f"[parse_response] python-call-list: expected {wanted} at character {self.at} of {self.text!r}")

    def sees(self, mark: str) -> bool:
        self.at = self.SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text.startswith(mark, self.at)

    def take(self, mark: str) -> None:
        if not self.sees(mark):
            self.fail(repr(mark))
        self.at += 1

    def until(self, end: str, item: Callable[[], Any]) -> list[Any]:
        """Items with commas between them; a comma behind the last one is none of Python's lists here."""
        out = []
        while not self.sees(end):
            if out:
                self.take(",")
            out.append(item())
        self.at += 1
        return out

    def named(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            self.fail("every name once")
        return out

    def string(self) -> str:
        found = self.STRING.match(self.text, self.at)
        if found is None:
            self.fail("a string")
        if self.LONE.search(found[2]):
            self.fail("a string without lone surrogates")

        def unescape(escape: Any) -> str:
            if escape[1] is None and escape[2] not in self.SIMPLE:
                self.fail(f"a string whose escapes are \\uXXXX or one of {' '.join(self.SIMPLE)}, not {escape[0]!r}")
            return self.SIMPLE[escape[2]] if escape[1] is None else chr(int(escape[1], 16))

        # escapes alone can make surrogates here, and pairs of them are characters
        out = self.SURROGATES.sub(lambda m: chr(0x10000 + (ord(m[1]) - 0xD800 << 10) + ord(m[2]) - 0xDC00), self.ESCAPE.sub(unescape, found[2]))
        if self.LONE.search(out):
            self.fail("a string without lone surrogates")
        self.at = found.end()
        return out

    def number(self, found: Any) -> "int | float":
        if found["rest"]:
            value: "int | float" = float(found[0])
            if math.isinf(value):
                self.fail("a number that float64 holds")
        else:
            # long ones are never turned into a number: that takes the square of their length
            value = int(found[0]) if len(found[0]) <= 17 else self.LARGEST + 1
            if abs(value) > self.LARGEST:
                self.fail("an integer below 2^53")
        self.at = found.end()
        return value

    def value(self, depth: int) -> Any:
        if self.sees("'") or self.sees('"'):
            return self.string()
        if self.sees("[") or self.sees("{"):
            if depth == self.DEEPEST:
                self.fail(f"at most {self.DEEPEST} lists in each other")
            self.at += 1
            if self.text[self.at - 1] == "[":
                return self.until("]", lambda: self.value(depth + 1))
            return self.named(self.until("}", lambda: self.pair(depth + 1)))
        if found := self.NUMBER.match(self.text, self.at):
            return self.number(found)
        found = self.NAME.match(self.text, self.at)
        if found is None or found[0] not in self.CONSTANTS:
            self.fail("a string, number, list, dict, True, False or None")
        self.at = found.end()
        return self.CONSTANTS[found[0]]

    def pair(self, depth: int) -> tuple[str, Any]:
        if not (self.sees("'") or self.sees('"')):
            self.fail("a string as the key of a dict")
        key = self.string()
        self.take(":")
        return key, self.value(depth)

    def name(self, what: str) -> str:
        self.sees("")
        found = self.NAME.match(self.text, self.at)
        if found is None:
            self.fail(what)
        self.at = found.end()
        return found[0]

    def argument(self) -> tuple[str, Any]:
        key = self.name("an argument with its name")
        self.take("=")
        return key, self.value(0)

    def call(self) -> dict[str, Any]:
        function = self.name("the name of a function")
        self.take("(")
        return {"name": function, "arguments": self.named(self.until(")", self.argument))}

    def all(self) -> list[dict[str, Any]]:
        self.take("[")
        calls = self.until("]", self.call)
        self.sees("")
        if self.at < len(self.text):
            self.fail("the end of the text")
        return calls


PARSERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "text": _text, "int": lambda text, options: int(_text(text, options)), "float": lambda text, options: float(_text(text, options)), "bool": _bool,
    "json": _json, "xml-inline": _tags, "kv-lines": _lines, "python-call-list": lambda text, options: _Calls(text).all(),
}
# The parts of such a region are parts of its value; those of the others mean nothing before the region closes.
STREAMED = frozenset({"text", "int", "float", "bool"})


def parse_content(text: str, name: str, options: Mapping[str, Any]) -> Any:
    """The value of a region's text. Errors: ValueError for a text that the parser does not take."""
    return PARSERS[name](text, options)


_PLACEHOLDER = re.compile(r"\{(\w+(?:\.\w+)*)\}")


def check_transform(transform: Any, where: str) -> None:
    """Errors: ValueError if a string has more in it than a placeholder."""
    for part in transform.values() if isinstance(transform, dict) else transform if isinstance(transform, list) else ():
        check_transform(part, where)
    if isinstance(transform, str) and _PLACEHOLDER.search(transform) and not _PLACEHOLDER.fullmatch(transform):
        raise ValueError(f"{where}: transform: expected a {{placeholder}} alone or a text without any, got {transform!r}")


def fill_transform(transform: Any, names: Mapping[str, Any]) -> Any:
    """The transform with each "{name.key}" replaced by its value. Errors: KeyError for an unknown name; ValueError for an unknown key."""
    if isinstance(transform, dict):
        return {key: fill_transform(part, names) for key, part in transform.items()}
    if isinstance(transform, list):
        return [fill_transform(part, names) for part in transform]
    found = _PLACEHOLDER.fullmatch(transform) if isinstance(transform, str) else None
    if found is None:
        return transform
    name, *keys = found[1].split(".")
    if name not in names:
        raise KeyError(f"[parse_response] transform {transform}: expected one of {', '.join(sorted(names))}")
    value = names[name]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            got = f"a dict of {', '.join(sorted(value))}" if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"[parse_response] transform {transform}: expected {key!r} in it, got {got}")
        value = value[key]
    return value


def _types_of(schema: Any) -> list[str]:
    """The types that a JSON schema allows, in order."""
    if not isinstance(schema, dict):
        return []
    written = schema.get("type")
    types = [t for t in (written if isinstance(written, list) else [written]) if isinstance(t, str)]
    for choice in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        types += _types_of(choice)
    return [*types, "null"] if schema.get("nullable") and "null" not in types else types


def _as_type(text: str, name: str) -> Any:
    """The text as a value of the type. Errors: ValueError if it is none."""
    word = text.strip()
    if name == "integer":
        try:
            return int(text)
        except ValueError:
            number = float(text)
            if number.is_integer():  # 3.0 is an integer of JSON schemas
                return int(number)
    elif name == "number":
        number = float(text)
        if math.isfinite(number):
            return int(number) if number.is_integer() and "." not in text else number
    elif name == "boolean" and word.lower() in ("true", "1", "false", "0"):
        return word.lower() in ("true", "1")
    elif name == "null" and word in ("null", "None"):
        return None
    elif name in ("object", "array"):
        value = json.loads(text)
        if isinstance(value, dict if name == "object" else list):
            return value
    raise ValueError(name)


def _as_schema(text: str, types: list[str]) -> Any:
    """The text as the first of the types that it is a value of, or as it is."""
    for name in types:
        try:
            return _as_type(text, name)
        except ValueError:
            continue
    return text


def type_arguments(value: Any, tools: Mapping[str, Mapping[str, Any]]) -> Any:
    """Turns the arguments of the tool calls in a value that are texts into what the tool's schema says they are, in place."""
    if isinstance(value, list):
        return [type_arguments(v, tools) for v in value]
    function = value.get("function") if isinstance(value, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(arguments, dict) or not isinstance(function.get("name"), str):  # type: ignore[union-attr]
        return value
    properties = tools.get(function["name"], {})  # type: ignore[index]
    for key in arguments.keys() & properties.keys():
        types, given = _types_of(properties[key]), arguments[key]
        if types and isinstance(given, str):
            arguments[key] = _as_schema(given, types)
        elif types and isinstance(given, list) and "array" not in types:  # a parameter that was written several times
            arguments[key] = [_as_schema(v, types) if isinstance(v, str) else v for v in given]
    return value
