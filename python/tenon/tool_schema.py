"""JSON schemas of Python functions, from type hints and Google-style docstrings: what chat templates get as tools."""
from __future__ import annotations

import enum
import inspect
import json
import re
import types
from typing import Any, Callable, Literal, Union, get_args, get_origin, get_type_hints

_SCALARS: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_BARE: dict[Any, dict[str, Any]] = {**{hint: {"type": name} for hint, name in _SCALARS.items()},
                                    list: {"type": "array"}, tuple: {"type": "array"}, dict: {"type": "object"}, Any: {}}
_SECTIONS = ("Args:", "Returns:", "Raises:")


class TypeHintParsingException(Exception):
    """A type hint that has no JSON schema."""


class DocstringParsingException(Exception):
    """A docstring that does not describe what it should."""


def _enumeration(values: list[Any]) -> dict[str, Any]:
    names = list(dict.fromkeys(_SCALARS[type(v)] for v in values))
    return {"type": names[0] if len(names) == 1 else names, "enum": values}


def _union(args: tuple[Any, ...]) -> dict[str, Any]:
    members = [_schema_of(a) for a in args if a is not type(None)]
    if len(members) == 1:
        schema = members[0]
    elif all(m.keys() == {"type"} and isinstance(m["type"], str) for m in members):
        names = sorted({m["type"] for m in members})
        schema = {"type": names[0] if len(names) == 1 else names}
    else:
        schema = {"anyOf": members}
    if type(None) in args:
        schema = {**schema, "nullable": True}
    return schema


def _schema_of(hint: Any) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is None:
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            values = [member.value for member in hint]
            if not values or any(type(v) not in _SCALARS for v in values):
                raise TypeHintParsingException(f"[tools] {hint.__name__}: expected an Enum of int, float, str, bool or None, got {values}")
            return _enumeration(values)
        try:
            return dict(_BARE[hint])
        except (KeyError, TypeError):
            raise TypeHintParsingException(f"[tools] type hint: expected basic types, Enum, Literal, list, tuple, dict or unions of these, got {hint!r}; "
                                           "write the tool's JSON schema by hand instead") from None
    if origin is Union or origin is types.UnionType:
        return _union(args)
    if origin is Literal:
        if any(type(a) not in _SCALARS for a in args):
            raise TypeHintParsingException(f"[tools] Literal: expected int, float, str, bool or None, got {args}")
        return _enumeration(list(args))
    if origin is list:
        return {"type": "array", "items": _schema_of(args[0])}
    if origin is tuple:
        if len(args) == 1 or ... in args:
            raise TypeHintParsingException(f"[tools] type hint: expected a tuple of two and more types (or a list), got {hint!r}")
        return {"type": "array", "prefixItems": [_schema_of(a) for a in args]}
    if origin is dict:
        return {"type": "object", **({"additionalProperties": _schema_of(args[1])} if len(args) == 2 else {})}
    raise TypeHintParsingException(f"[tools] type hint: expected one that JSON can express, got {hint!r}")


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(function)
    parameters = dict(inspect.signature(function).parameters)
    first = next(iter(parameters), None)
    if first in ("self", "cls") and parameters[first].annotation is inspect.Parameter.empty:
        del parameters[first]
    for name, parameter in parameters.items():
        if parameter.annotation is inspect.Parameter.empty:
            raise TypeHintParsingException(f"[tools] {getattr(function, '__name__', 'operation')}: expected a type hint for the argument {name}")
    properties = {}
    for name, hint in hints.items():
        try:
            properties[name] = _schema_of(hint)
        except TypeHintParsingException:
            if name != "return":  # the model never writes what comes back
                raise
    required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _sections(doc: str) -> dict[str, str]:
    """The text of each section by its title, "" for the description."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in doc.split("\n"):
        word = line.strip()
        if word in _SECTIONS and word not in found:
            title = word
            found[title] = []
        else:
            found[title].append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _described_arguments(section: str) -> dict[str, str]:
    """name -> description; a line of "name: ..." or "name (type): ..." begins an argument unless it is indented deeper than the first."""
    found: dict[str, list[str]] = {}
    name, depth = None, None
    for line in section.split("\n"):
        if not line.strip():
            continue
        start = re.match(r"([ \t]*)(\w+)(?:[ \t]*\([^()\n]*\))?:\s*(.*)", line)
        if start and (depth is None or len(start[1]) <= depth):
            name, depth = start[2], len(start[1])
            found[name] = [start[3].strip()]
        elif name is not None:
            found[name].append(line.strip())
    return {n: " ".join(part for part in parts if part) for n, parts in found.items()}


def get_json_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The schema of a function for a chat template: name, description, parameters.

    The docstring describes the function and, below "Args:", each argument; "(choices: [...])" behind a description makes an enum.
    Errors: DocstringParsingException, TypeHintParsingException.
    """
    name = getattr(function, "__name__", "operation")
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        raise DocstringParsingException(f"[tools] {name}: expected a docstring")
    sections = _sections(doc)
    described = _described_arguments(sections.get("Args:", ""))
    parameters = _parameters(function)
    returned = parameters["properties"].pop("return", None)
    for argument, schema in parameters["properties"].items():
        if argument not in described:
            raise DocstringParsingException(f"[tools] {name}: expected the docstring to describe the argument {argument}")
        text = described[argument]
        choices = re.search(r"\(choices:\s*(.*?)\)\s*$", text, re.IGNORECASE)
        if choices:
            schema["enum"] = [c.strip() if isinstance(c, str) else c for c in json.loads(choices[1])]
            text = text[: choices.start()].strip()
        schema["description"] = text
    out: dict[str, Any] = {"name": name, "description": sections[""].strip(), "parameters": parameters}
    if returned is not None:
        if "Returns:" in sections:
            returned["description"] = sections["Returns:"].strip()
        out["return"] = returned
    return {"type": "function", "function": out}
