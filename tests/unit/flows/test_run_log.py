"""What is kept of a run, whatever becomes of it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrag_pipeline import cli, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.run_facts import RunFacts
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime import usage


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An index whose staging is empty."""
    return Config.parse({"index": "docs", "staging": {"uri": str(tmp_path / "staging")}})


def latest(config: Config) -> RunFacts:
    """The run that was kept last."""
    return wiring.run_files(config).latest(1)[0]


def test_a_run_is_kept_when_it_starts_and_when_it_ends(config: Config) -> None:
    """With its version, phases, and what workers held meanwhile."""
    seconds: dict[str, float] = {}
    usage.add(core_s=1e6)  # of an earlier run
    with logged(config, "ingest", seconds) as run:
        assert (latest(config).state, latest(config).pid) == ("running", os.getpid())
        run.version, run.documents, run.chunks = "v1", 3, 7
        seconds["embed"] = 1.5
        usage.add(core_s=7_200.0, gpu_s=3_600.0, retries=2)
    kept = latest(config)
    assert (kept.state, kept.version, kept.chunks, dict(kept.seconds)) == (
        "completed", "v1", 7, {"embed": 1.5},
    )  # fmt: skip
    assert kept.gpu_hours == 1.0
    assert kept.cpu_hours == pytest.approx(2.0, abs=0.1)
    assert kept.retries == 2
    assert kept.started_at <= kept.ended_at


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_run_that_ends_badly_says_so(config: Config, error: BaseException, state: str) -> None:
    """The error goes on as it was."""
    with pytest.raises(type(error)), logged(config, "sync", {"compare": 0.1}):
        raise error
    kept = latest(config)
    assert (kept.state, kept.kind, dict(kept.seconds)) == (state, "sync", {"compare": 0.1})
    assert kept.message == (str(error) or "KeyboardInterrupt")


def test_a_run_goes_on_if_it_cannot_be_kept(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, at its start and its end."""
    folder = Path(config.staging.uri)
    folder.write_text("a file, where the folder should be")
    with caplog.at_level(logging.WARNING), logged(config, "ingest", {}):
        pass
    assert caplog.text.count("run_not_kept") == 2


def test_runs_are_listed_the_latest_first(config: Config, tmp_path: Path) -> None:
    """As text and as JSON; a killed one is told from one that goes on; damaged files are none."""
    for kind in ("ingest", "sync"):
        with logged(config, kind, {"plan": 0.5}) as run:
            run.version, run.chunks = "v0123456789ab", 12
    files = wiring.run_files(config)
    killed = replace(latest(config), run="99999999-killed", state="running", pid=2**22 + 1)
    files.write(killed)
    (Path(config.staging.uri) / "docs" / "runs" / "00000000-bad.json").write_text("{")
    file = tmp_path / "mrag.toml"
    file.write_text(f'index = "docs"\n[staging]\nuri = "{config.staging.uri}"\n')
    cli.add_commands(cli.app, ("runs", "status"))
    told = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--json"])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)["runs"]
    assert [(row["kind"], row["state"]) for row in rows] == [
        ("sync", "killed"), ("sync", "completed"), ("ingest", "completed"),
    ]  # fmt: skip
    assert rows[1]["seconds"] == {"plan": 0.5}
    text = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--limit", "2"]).stdout
    assert text.count("v0123456789ab") == 2
    assert "seconds: plan 0.5" in text


def test_facts_of_a_newer_release_are_read(config: Config) -> None:
    """Keys that are not known here are passed over."""
    with logged(config, "ingest", {}):
        pass
    kept = latest(config)
    newer = json.dumps(asdict(kept) | {"joules": 7})
    assert RunFacts.from_json(newer) == kept
