"""Every key of the config file: types and bounds from `settings/`, meanings from the template."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt

from docs.site.reference.markdown import code, plain, table
from mrag_pipeline.config import Config, template

INTRO = """\
# Configuration: every key of mrag.toml

```console
$ mrag init                                # writes a mrag.toml with every key and its default
$ mrag plan -s chunking.max_tokens=256     # one setting for one command
```

A config file is TOML. A key that is left out has its default, an unknown key is refused with the nearest known one.
Relative paths are relative to the file. Secrets are never in it: keys that end in `_env` name environment variables.
This page is made from the code that reads the file.
"""
_TABLE = re.compile(r"^\[([\w.]+)\]$")
_KEY = re.compile(r"^(?:# )?(\w+) = (\S.*)$")
_FIELD = re.compile(r"^    (\w+): .*?(?:  # (.*))?$")
_TYPES = {str: "string", int: "whole number", float: "number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the config file."""

    name: str  # with its table: `retrieve.windows.part_words`
    type: str
    default: str
    meaning: str


def page() -> str:
    """The page, a section for each table."""
    known = {key.name: key for key in keys()}
    parts = [INTRO]
    for name, groups in _template_groups():
        parts.append(f"## [{name}] {{ #{name.replace('.', '-')} }}\n" if name else "## Top level\n")
        rows = [
            (code(key.name), key.type, key.default, plain(meaning))
            for comment, names in groups
            for key, meaning in _explained(comment, [known[_joined(name, one)] for one in names])
        ]
        parts.append(table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def keys() -> Iterator[Key]:
    """Every key, in the order of the settings' own files."""
    for name, field in Config.model_fields.items():
        if dataclasses.is_dataclass(field.annotation):
            yield from _keys_of(name, field.annotation, field.default)
        else:
            yield Key(name, type_in_words(field.annotation), _shown(field.default), "")


def _explained(comment: str, group: list[Key]) -> Iterator[tuple[Key, str]]:
    """Keys with their meanings: the template's comment is about all keys below it."""
    for number, key in enumerate(group):
        if number == 0:
            yield key, comment or key.meaning
        else:
            yield key, key.meaning or f"see `{group[0].name}`"


def _joined(table_name: str, key: str) -> str:
    return f"{table_name}.{key}" if table_name else key


def _keys_of(table_name: str, spec: type, defaults: Any) -> Iterator[Key]:
    hints = typing.get_type_hints(spec, include_extras=True)
    meanings = _comments(spec)
    for field in dataclasses.fields(spec):
        name, value = f"{table_name}.{field.name}", getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys_of(name, type(value), value)
        else:
            shown = _shown(value)
            if value is None:
                shown = "the strategy's own" if table_name.startswith("retrieve") else "left out"
            yield Key(name, type_in_words(hints[field.name]), shown, meanings[field.name])


def type_in_words(hint: Any) -> str:
    """A type and its bounds, as a reader of TOML would say it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        bounds = ", ".join(text for bound in hint.__metadata__ for text in _bounds(bound))
        return f"{type_in_words(hint.__origin__)}{', ' + bounds if bounds else ''}"
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_in_words(one) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"list of {type_in_words(arguments[0])}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"table of {type_in_words(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return "table"
    return _TYPES[hint]


def _bounds(bound: object) -> Iterator[str]:
    if isinstance(bound, Interval):
        for part in bound:
            yield from _bounds(part)
    elif isinstance(bound, Ge):
        yield f"at least {bound.ge:g}"
    elif isinstance(bound, Gt):
        yield f"above {bound.gt:g}"
    elif isinstance(bound, Le):
        yield f"at most {bound.le:g}"
    elif isinstance(bound, Lt) and bound.lt != float("inf"):
        yield f"below {bound.lt:g}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "`{}`" if not value else f"`{dict(value)}`"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def _comments(spec: type) -> dict[str, str]:
    """What stands behind each field in the source; "" if nothing does."""
    lines = inspect.getsource(spec).splitlines()
    found = (_FIELD.match(line) for line in lines)
    return {match[1]: match[2] or "" for match in found if match}


def _template_groups() -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """The template's tables: each comment with the keys below it, in order."""
    section, groups, comment = "", list[tuple[str, list[str]]](), list[str]()
    for line in template().splitlines():
        match = _KEY.match(line)
        if found := _TABLE.match(line):
            yield section, groups
            section, groups, comment = found[1], [], []
        elif match:
            if comment or not groups:
                groups.append((" ".join(comment), []))
                comment = []
            groups[-1][1].append(match[1])
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif comment:
            comment = []  # the head of the file
    yield section, groups
