"""The group of all commands: help texts and arguments are shown as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from mrag_pipeline.cli.terminal import visible

# Typer's releases differ in whose click they use: the base of usage errors is found by name.
_ClickError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class CommandGroup(TyperGroup):
    """Typer reads help texts as markup, where `[llm]` is a style, and shows arguments raw."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _take_literally(self)

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """The context of the group's own options."""
        with _visible_errors():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Parses and runs the command."""
        with _visible_errors():
            return super().invoke(ctx)


def _take_literally(command: Any) -> None:
    for item in (command, *command.params):
        for name in ("help", "short_help", "epilog"):
            text = getattr(item, name, None)
            if text:
                setattr(item, name, escape(text))
    for below in getattr(command, "commands", {}).values():
        _take_literally(below)


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        yield
    except _ClickError as error:
        error.message = visible(error.message)  # type: ignore[attr-defined]
        raise
