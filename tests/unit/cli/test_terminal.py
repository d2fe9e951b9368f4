"""Texts of corpora, paths and errors reach the terminal as data."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from mrag_pipeline import cli
from mrag_pipeline.cli import terminal
from mrag_pipeline.cli.command_group import CommandGroup
from mrag_pipeline.cli.terminal import Terminal, line, visible

HOSTILE = "odd [/old] [bold]x[/] :smile: \x1b]0;title\x07\x1b[31m\x9b2J\u202etxt\u2028\ud800"
MARKUP = ("terminal.py", "command_group.py")  # the files that know rich's markup
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\ud800-\udfff]")


def shown(item: object, is_terminal: bool = False) -> str:
    """What is written."""
    console = Terminal()
    console.file = io.StringIO()
    console._force_terminal = is_terminal
    console.width = 200
    console.print(item)
    return console.file.getvalue()


def test_brackets_and_emoji_codes_are_text() -> None:
    """A closing tag that was never opened is no error, an opening one is not lost."""
    assert shown("odd [/old] [bold]x :smile:") == "odd [/old] [bold]x :smile:\n"


@pytest.mark.parametrize(
    "item",
    [HOSTILE, line(("bold", HOSTILE), HOSTILE), Table(HOSTILE, HOSTILE, title=HOSTILE)],
    ids=["string", "styled", "table"],
)
def test_nothing_that_steers_a_terminal_is_written(item: object) -> None:
    """Wherever the text stands, and whatever its style is."""
    assert not STEERS.search(shown(item))


def test_styles_still_work_in_a_terminal() -> None:
    """Only rich's own codes are written."""
    assert "x␛[31m" in shown(line(("bold", "x\x1b[31m")), is_terminal=True)


@pytest.mark.parametrize("text", ["plain", "tabs\tand\nlines", "漢字 😀 é", "👩‍👩‍👧"])
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    """Letters of any script, joined emoji, tabs and newlines."""
    assert visible(text) == text


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Any terminal and any pipe can take it, and it says what the text was."""
    terminal.print_json({"text": "é \x1b \ud800"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"text": "é \x1b \ud800"}


def test_what_the_encoding_cannot_show_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONIOENCODING=ascii."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.settle_streams()
    console = Terminal()
    console.print("snow \u2603")
    sys.stdout.flush()
    assert raw.getvalue() == b"snow ?\n"


def test_log_lines_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning about a path of the corpus."""
    terminal.settle_streams()
    assert logging.lastResort is not None
    logging.lastResort.handle(
        logging.LogRecord("a", logging.WARNING, "", 0, "at %s", (HOSTILE,), None)
    )
    assert not STEERS.search(capsys.readouterr().err.rstrip("\n"))


@pytest.fixture
def app() -> typer.Typer:
    """The whole command."""
    made = typer.Typer(cls=CommandGroup)
    cli.add_commands(made)
    return made


def test_help_shows_brackets(app: typer.Typer) -> None:
    """The table [llm] of the config is not a style."""
    result = CliRunner().invoke(app, ["search", "--help"], env={"COLUMNS": "200"})
    assert "model of [llm]" in result.output


@pytest.mark.parametrize("arguments", [[f"--{HOSTILE}"], ["plan", f"--{HOSTILE}"], [HOSTILE]])
def test_a_wrong_argument_is_shown_as_text(app: typer.Typer, arguments: list[str]) -> None:
    """Also in the messages that Typer writes."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "odd [/old]" in result.output
    assert not STEERS.search(result.output)


def test_no_command_knows_consoles_and_markup() -> None:
    """Each prints through terminal.py, with styles beside the texts."""
    folder = Path(cli.__file__).parent
    others = [path for path in folder.glob("*.py") if path.name not in MARKUP]
    word = re.compile(r"rich\.(console|markup)|\bprint\(|\[(bold|dim|red|green|yellow|cyan|/)\]")
    found = [
        f"{path.name}: {text.strip()}"
        for path in others
        for text in path.read_text().splitlines()
        if word.search(re.sub(r"(out|err)\.print\(", "", text))
    ]
    assert found == []
