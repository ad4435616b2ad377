"""HfArgumentParser: dataclasses such as TrainingArguments filled from the command line, a dict or a JSON file."""
from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import types
import typing
from enum import Enum
from typing import Any, Iterable


def _truth(text: Any) -> bool:
    words = {"yes": True, "true": True, "t": True, "y": True, "1": True, "no": False, "false": False, "f": False, "n": False, "0": False}
    if isinstance(text, bool):
        return text
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"expected yes or no, true or false, 1 or 0, got {text!r}")
    return words[text.lower()]


def _members(hint: Any) -> list[Any]:
    """The types of a union without None; one type alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [t for t in typing.get_args(hint) if t is not type(None)]
    return [hint]


class HfArgumentParser(argparse.ArgumentParser):
    """An ArgumentParser with an option for each field of the dataclasses; see parse_args_into_dataclasses()."""

    def __init__(self, dataclass_types: Any = None, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(**kwargs)
        given = dataclass_types if isinstance(dataclass_types, Iterable) else [] if dataclass_types is None else [dataclass_types]
        self.dataclass_types: list[Any] = list(given)
        for kind in self.dataclass_types:
            hints = typing.get_type_hints(kind)
            for field in dataclasses.fields(kind):
                if field.init:
                    self._add_field(field, hints[field.name])

    def _add_field(self, field: "dataclasses.Field[Any]", hint: Any) -> None:
        names = [f"--{field.name}", *([f"--{field.name.replace('_', '-')}"] if "_" in field.name else [])]
        options: dict[str, Any] = {"help": field.metadata.get("help")}
        if field.default is not dataclasses.MISSING:
            options["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            options["default"] = field.default_factory()
        else:
            options["required"] = True
        members = _members(hint)
        first = members[0] if len(members) == 1 else str if str in members else members[0]
        if first is bool:
            self.add_argument(*names, type=_truth, nargs="?", const=True, **options)
            if options.get("default") is True:
                self.add_argument(f"--no_{field.name}", f"--no-{field.name.replace('_', '-')}", action="store_false", dest=field.name,
                                  default=argparse.SUPPRESS)
            return
        if typing.get_origin(first) is list:
            self.add_argument(*names, type=(typing.get_args(first) or (str,))[0], nargs="+", **options)
            return
        if typing.get_origin(first) is typing.Literal:
            self.add_argument(*names, choices=typing.get_args(first), type=type(typing.get_args(first)[0]), **options)
            return
        if isinstance(first, type) and issubclass(first, Enum):
            self.add_argument(*names, choices=[m.value for m in first], type=type(next(iter(first)).value), **options)
            return
        self.add_argument(*names, type=first if first in (int, float, str) else str, **options)

    def parse_args_into_dataclasses(self, args: Any = None, return_remaining_strings: bool = False, look_for_args_file: bool = True,
                                    args_filename: Any = None, args_file_flag: Any = None) -> tuple[Any, ...]:
        """One object of each dataclass, from `args` or sys.argv. Errors: ValueError for unknown options unless they are asked for."""
        space, rest = self.parse_known_args(args=args)
        values, made = vars(space), []
        for kind in self.dataclass_types:
            made.append(kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind) if f.init}))
        if values:
            made.append(argparse.Namespace(**values))
        if return_remaining_strings:
            return (*made, rest)
        if rest:
            raise ValueError(f"[HfArgumentParser] unknown options: {' '.join(rest)}")
        return tuple(made)

    def parse_dict(self, args: dict[str, Any], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """One object of each dataclass from a dict. Errors: ValueError for unknown keys."""
        known = {f.name for kind in self.dataclass_types for f in dataclasses.fields(kind) if f.init}
        extra = sorted(args.keys() - known)
        if extra and not allow_extra_keys:
            raise ValueError(f"[HfArgumentParser] unknown keys: {', '.join(extra)}")
        return tuple(kind(**{f.name: args[f.name] for f in dataclasses.fields(kind) if f.init and f.name in args})
                     for kind in self.dataclass_types)

    def parse_json_file(self, json_file: Any, allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """As parse_dict(), from a file."""
        with open(json_file, encoding="utf-8") as file:
            return self.parse_dict(json.load(file), allow_extra_keys)

    def error(self, message: str) -> typing.NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}\n")
