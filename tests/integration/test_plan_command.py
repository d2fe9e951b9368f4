"""`mrag plan` for a Milvus server (one in this process): its collections, and the workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pymilvus.grpc_gen import schema_pb2

from mrag_pipeline import cli
from mrag_pipeline.errors import PlanRefused
from tests.support.milvus_protocol_server import Held, protocol_server
from tests.support.project_folder import write_lines
from tests.support.tiny_models import save_model

NO_FIELDS = schema_pb2.CollectionSchema()
NUM_THERE = 494  # and 6 would come: four heads, words, chunks


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the server; the working folder has a corpus, and a config that names the server."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", range(3))
    model = save_model("bert", tmp_path / "model")
    with protocol_server("v2.5.13") as (uri, server):
        server.collections |= {f"other_{number}": Held(NO_FIELDS) for number in range(NUM_THERE)}
        (tmp_path / "mrag.toml").write_text(
            f'[corpus]\nuri = "a.jsonl"\n[encoder]\nmodel = "{model}"\n'
            f'[chunking]\nmax_tokens = 32\n[milvus]\nuri = "{uri}"\n'
        )
        yield uri


def plan(*words: str) -> None:
    """Runs the command as from a shell; its errors are raised."""
    app = typer.Typer()
    cli.add_commands(app)
    typer.main.get_command(app)(["plan", *words], standalone_mode=False)


@pytest.mark.usefixtures("uri")
def test_a_plan_near_the_advised_number_warns(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line of its own, and among the facts for programs."""
    plan()
    shown = " ".join(capsys.readouterr().out.split())
    assert "note the server's database will have 500 of 500 collections" in shown
    plan("--json")
    told = json.loads(capsys.readouterr().out)
    assert told["collections"] == 6
    assert len(told["warnings"]) == 1
    plan("--json", "-s", "milvus.advised_collections=1000")
    assert json.loads(capsys.readouterr().out)["warnings"] == []


@pytest.mark.parametrize(
    ("settings", "told", "shown"),
    [
        (
            [],
            {"embed": None, "other_phases": 0},
            "embed: this process; other phases (of more than 1,000 MB each): as many as fit",
        ),
        (
            ["pool=ray", "count=4", "phase_workers=64", "phase_mb=2.5"],
            {"embed": 4, "other_phases": 64},
            "embed: 4; other phases (of more than 2.5 MB each): 64",
        ),
        (
            ["pool=serial", "count=4"],
            {"embed": None, "other_phases": None},
            "embed: this process; other phases: this process",
        ),
    ],
)
@pytest.mark.usefixtures("uri")
def test_a_plan_tells_how_many_workers_there_will_be(
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    told: dict[str, int | None],
    shown: str,
) -> None:
    """To embed, and in the phases that need no GPU."""
    words = [word for setting in settings for word in ("-s", f"workers.{setting}")]
    plan(*words)
    assert shown in " ".join(capsys.readouterr().out.split())
    plan("--json", *words)
    assert json.loads(capsys.readouterr().out)["workers"] == told


@pytest.mark.usefixtures("uri")
def test_a_plan_beyond_the_advised_number_is_refused() -> None:
    """The setting that refuses is the one that allows."""
    with pytest.raises(PlanRefused, match="494 collections are there, and 6 would come"):
        plan("-s", "milvus.advised_collections=499")
