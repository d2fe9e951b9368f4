"""The front matter of a Markdown file: a YAML mapping between `---` rules, or TOML between `+++`.

What stands there is front matter if it is a mapping whose keys look like names; else it is text.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

# A rule, at once followed by what it holds: after an empty line it is a line across the page.
_BLOCK = re.compile(r"\A(?:---|\+\+\+)[ \t]*\n")
_END = {"---": re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE),
        "+++": re.compile(r"^\+\+\+[ \t]*(?:\n|\Z)", re.MULTILINE)}  # fmt: skip
_KEY = re.compile(r"[^\W\d][\w.@/-]*( [\w.@/-]+){0,2}\Z")
_MAX_CHARS = 100_000
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a file's front matter, perhaps none, and the text below it."""

    fields: Mapping[str, object]
    text: str


def split_front_matter(text: str) -> FrontMatter:
    """The text without its front matter; all of it, if it begins with none."""
    rule = text[:3]
    start = _BLOCK.match(text)
    end = _END[rule].search(text, start.end(), start.end() + _MAX_CHARS) if start else None
    if not start or not end:
        return FrontMatter({}, text)
    source = text[start.end() : end.start()]
    fields = _mapping(source, rule)
    return FrontMatter({}, text) if fields is None else FrontMatter(fields, text[end.end() :])


def _mapping(source: str, rule: str) -> dict[str, object] | None:
    """The fields; None if the source is not front matter."""
    if source.startswith("\n"):
        return None
    if not source.strip():
        return {}
    try:
        values = tomllib.loads(source) if rule == "+++" else yaml.load(source, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError):
        return None
    if not isinstance(values, dict) or not all(_is_key(key) for key in values):
        return None
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(below) for below in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | None) else str(value)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and bool(_KEY.match(key))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's plain types; without aliases, which can make little text a lot.

    The loader in C would not ask `compose_node`, and front matter is short.
    """

    def compose_node(self, parent: object, index: object) -> object:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("an alias")
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > _MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _as_written(kind: str) -> Callable[[yaml.SafeLoader, yaml.ScalarNode], object]:
    """Reads a plain value as YAML 1.2 and people do: what is not of the kind is a word."""

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
        word = str(loader.construct_scalar(node))
        if kind == "bool":  # YAML 1.1 reads `no` and `on` as booleans
            return {"true": True, "false": False}.get(word.lower(), word)
        if ":" in word and kind in ("int", "float"):  # and 12:30 as 750
            return word
        try:
            return getattr(yaml.SafeLoader, f"construct_yaml_{kind}")(loader, node)
        except ValueError:  # the 32nd of a month
            return word

    return construct


for _kind in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written(_kind))
