"""Every command, given ids, titles, texts, names and paths that are made to harm a terminal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from mrag_pipeline import cli
from tests.support.project_folder import Mrag, environment

pytestmark = pytest.mark.timeout(1800)

HOSTILE = "odd [/old] [bold]x :smile: \x1b]0;title\x07\x1b[31m\u202etxt\u2028"
FOLDER = "odd [/old] \x1b]0;title\x07"
# All control characters but tab and newline, and what changes the direction of writing.
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]")
SERIAL = ("-s", "workers.pool=serial")
QUERIES = f"{FOLDER}/queries.jsonl"

# For each command some ways to run it, in the order of their running; {} stands for the folder.
WAYS: dict[str, list[tuple[str, ...]]] = {
    "init": [("{}/new.toml",), ("{}/missing/new.toml",), (HOSTILE, HOSTILE)],
    "plan": [("{}/corpus",), ("{}/nowhere",), ("-c", "{}/none.toml"), ("-s", HOSTILE)],
    "ingest": [("{}/corpus", *SERIAL), ("{}/bad", *SERIAL), (f"--{HOSTILE}",)],
    "sync": [("{}/corpus", *SERIAL), ("{}/nowhere",)],
    "upsert": [("{}/corpus",), ("{}/nowhere",)],
    "delete": [(HOSTILE,), (HOSTILE, "--key", HOSTILE)],
    "search": [(HOSTILE,), (HOSTILE, "--compare", "standard"), (HOSTILE, "--filter", HOSTILE),
               (HOSTILE, "--strategy", HOSTILE)],
    "serve": [("-c", "{}/none.toml"), ("--port", HOSTILE), ("-s", f"serve.host={HOSTILE}")],
    "mcp": [("-c", "{}/none.toml"), ("--port", HOSTILE)],
    "evaluate": [("--queries", QUERIES, "--strategies", HOSTILE),
                 ("--queries", "{}/none.jsonl"), (HOSTILE,)],
    "status": [(), ("-i", HOSTILE)],
    "inspect": [(HOSTILE,), (HOSTILE + "!",)],
    "versions": [(), ("-s", HOSTILE)],
    "activate": [(HOSTILE,)],
    "retire": [(HOSTILE,)],
    "audit": [(), ("--version", HOSTILE)],
    "repair": [("--version", HOSTILE), (f"--{HOSTILE}",)],
    "heads": [(), ("--version", HOSTILE), ("--field", HOSTILE)],
    "export": [("{}/export",), ("{}/export2", "--version", HOSTILE)],
    "import": [("{}/nowhere",)],
    "doctor": [("-s", f"encoder.model={FOLDER}", "-s", f"milvus.uri={FOLDER}/x.db")],
    "deadletters list": [(), (HOSTILE,)],
    "deadletters replay": [(HOSTILE,), ("--corpus", "{}/nowhere")],
    "runs": [(), ("-s", HOSTILE)],
    "models check": [("{}/corpus",), (HOSTILE,)],
    "keys new": [(HOSTILE,), ("me", "--expires", HOSTILE), ("me", "--tenant", HOSTILE)],
}  # fmt: skip


def commands() -> list[str]:
    """Every command of the tool, groups opened."""
    app = typer.Typer()
    cli.add_commands(app)

    def below(command: object, path: str) -> list[str]:
        group = getattr(command, "commands", None)
        if not group:
            return [path]
        return [name for key, one in group.items() for name in below(one, f"{path} {key}".strip())]

    return below(typer.main.get_command(app), "")


def write_corpus() -> None:
    """Good documents and bad ones, all of them hostile."""
    rows: list[Any] = [
        {"id": HOSTILE, "title": HOSTILE, "text": f"harbour {HOSTILE}", HOSTILE: float("nan")},
        *({"id": f"{n} {HOSTILE}", "title": "", "text": f"word {n} {HOSTILE}"} for n in range(3)),
        {"id": f"bad {HOSTILE}", "title": "", "text": None},
    ]
    corpus = Path(FOLDER) / "corpus"
    corpus.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (corpus / "odd [old] \x1b]0;title\x07.jsonl").write_text(lines)
    (Path(FOLDER) / "bad").mkdir()
    (Path(FOLDER) / "bad" / "a.jsonl").write_text(json.dumps({HOSTILE: HOSTILE, "n": HOSTILE}))
    query = {"query": HOSTILE, "relevant": [HOSTILE, f"none {HOSTILE}"]}
    Path(QUERIES).write_text(json.dumps(query))


def test_every_command_is_tried() -> None:
    """A command that is new needs a row of WAYS."""
    assert set(commands()) == set(WAYS)


@pytest.mark.long
def test_every_command_shows_data_as_text(mrag: Mrag) -> None:
    """No traceback, no escape sequence, no lost bracket, and JSON in ASCII."""
    write_corpus()
    for command, ways in WAYS.items():
        for way in ways:
            arguments = [argument.replace("{}", FOLDER) for argument in way]
            for extra in ((), ("--json",)):
                if extra and command in ("init", "mcp", "serve"):
                    continue
                if extra and "export" in command:
                    shutil.rmtree(Path(FOLDER) / "export", ignore_errors=True)
                said = mrag(*command.split(), *arguments, *extra)
                shown = f"mrag {command} {arguments!r} {extra}: {said.code}"
                assert "Traceback" not in said.err, shown
                assert "MarkupError" not in said.err, shown
                for text in (said.out, said.err):
                    assert not STEERS.search(text), (shown, text)
                if extra:
                    assert said.out.isascii(), shown


def test_brackets_are_shown(mrag: Mrag) -> None:
    """Of ids, titles, texts and paths."""
    write_corpus()
    assert mrag("ingest", f"{FOLDER}/corpus", *SERIAL).code == 0
    shown = [
        mrag("inspect", HOSTILE.strip()).out,
        mrag("search", "harbour", "-k", "2").out,
        mrag("deadletters", "list").out,
        mrag("plan", f"{FOLDER}/corpus").out,
    ]
    for out in shown:
        assert "odd [/old]" in " ".join(out.split())


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.long)])
def test_any_encoding_of_the_terminal_will_do(mrag: Mrag, encoding: str) -> None:
    """What it cannot show is replaced."""
    Path("docs.jsonl").write_text(json.dumps({"id": "snow ☃ 漢", "title": "😀", "text": "☃ é"}) * 1)
    Path("more.jsonl").write_text("")
    rows = [{"id": f"☃ {n}", "title": "😀 漢字", "text": f"winter ☃ {n}"} for n in range(3)]
    Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert mrag("ingest", "docs.jsonl", *SERIAL).code == 0
    for arguments in (["search", "winter ☃"], ["inspect", "☃ 1"], ["inspect", "漢"], ["status"]):
        ended = subprocess.run(
            [sys.executable, "-m", "mrag_pipeline.cli", *arguments],
            capture_output=True,
            env={**environment(), "PYTHONIOENCODING": encoding},
        )
        assert b"Traceback" not in ended.stderr
        assert (ended.stdout or ended.stderr).decode(encoding)
