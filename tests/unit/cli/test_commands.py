"""A file for each command, named like it; every command explains itself."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer

from mrag_pipeline import cli

FOLDER = Path(cli.__file__).parent
# What commands share.
SHARED = {
    "__init__",
    "__main__",
    "command_group",
    "evaluation_tables",
    "first_settings",
    "flow_runs",
    "interrupts",
    "options",
    "orphans",
    "search_output",
    "search_ways",
    "terminal",
}


@pytest.fixture(scope="module")
def group() -> click.Group:
    """All commands, as a user sees them."""
    app = typer.Typer()
    cli.add_commands(app)
    found = typer.main.get_command(app)
    assert isinstance(found, click.Group) or hasattr(found, "commands")
    return found  # type: ignore[return-value]


def test_each_command_has_a_file_of_its_name(group: click.Group) -> None:
    """`import` is a keyword: its file is import_version.py."""
    files = {path.stem for path in FOLDER.glob("*.py")} - SHARED
    commands = {"import_version" if name == "import" else name for name in group.commands}
    assert files == commands


def test_every_option_has_a_help_text(group: click.Group) -> None:
    """Also those of sub-commands."""

    def silent(command: click.Command, path: str) -> list[str]:
        if hasattr(command, "commands"):
            return [
                line
                for name, below in command.commands.items()
                for line in silent(below, f"{path} {name}")
            ]
        return [f"{path} {one.name}" for one in command.params if not getattr(one, "help", "")]

    assert silent(group, "mrag") == []


def test_every_command_has_an_example(group: click.Group) -> None:
    """In its --help, beginning with the command itself."""

    def without(command: click.Command, path: str) -> list[str]:
        if hasattr(command, "commands"):
            return [
                line
                for name, below in command.commands.items()
                for line in without(below, f"{path} {name}")
            ]
        text = command.help or ""
        return [] if "Example" in text and path in text else [path]

    assert without(group, "mrag") == []
