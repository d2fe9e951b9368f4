"""What is kept of a run, whatever becomes of it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mrag_pipeline import cli, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.run_facts import RunFacts
from mrag_pipeline.errors import ConfigError, IndexBusy, StagingError
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime import usage
from mrag_pipeline.staging import run_files
from mrag_pipeline.staging.run_files import RunFiles


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
        retried = {usage.DRIVER: usage.NodeUsage(retries=2)}
        usage.add(core_s=7_200.0, gpu_s=3_600.0, nodes=retried)
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


def test_a_run_that_staging_refuses_says_so_once(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own message names the folder."""
    Path(config.staging.uri).write_text("a file, where the folder should be")

    @contextmanager
    def held() -> Iterator[None]:
        raise StagingError("cannot write to the staging folder")
        yield  # as a lock would

    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(StagingError),
        logged(config, "ingest", {}, held()),
    ):
        pass
    assert "run_not_kept" not in caplog.text


def test_a_text_that_is_no_utf_8_is_kept(config: Config) -> None:
    """A lone surrogate in an error; the error itself goes on."""
    with pytest.raises(ValueError, match="no such"), logged(config, "ingest", {}):
        raise ValueError("no such file: \udcff")
    assert latest(config).message == "no such file: \udcff"


@pytest.mark.parametrize("failure", [OSError("disk gone"), ValueError("no text")])
def test_an_error_of_keeping_does_not_replace_that_of_the_run(
    config: Config, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Whatever it is."""

    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr(RunFiles, "write", fails)
    with pytest.raises(RuntimeError, match="the run's own"), logged(config, "ingest", {}):
        raise RuntimeError("the run's own")


def test_a_run_starts_when_it_holds_the_lock(config: Config) -> None:
    """Nothing is kept while it waits; the lock is held until the end is kept."""
    events: list[str] = []

    @contextmanager
    def lock() -> Iterator[None]:
        events.append(f"waited, {len(wiring.run_files(config).latest(9))} kept")
        yield
        events.append(latest(config).state)

    with logged(config, "sync", {}, lock()):
        assert latest(config).state == "running"
    assert events == ["waited, 0 kept", "completed"]


def test_a_refused_run_is_kept_as_failed(config: Config) -> None:
    """With the error."""

    @contextmanager
    def lock() -> Iterator[None]:
        raise IndexBusy("another run", "none", "wait")
        yield

    with pytest.raises(IndexBusy), logged(config, "sync", {}, lock()):
        pass
    [kept] = wiring.run_files(config).latest(9)
    assert kept.state == "failed"
    assert "another run" in kept.message


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "3", '{"run": "a"}', '{"started_at": "yesterday"}', '{"pid": "one"}',
     '{"started_at": "2026-11-30T10:00:00"}', '{"seconds": [1]}', '{"ended_at": "soon"}'],
)  # fmt: skip
def test_a_file_that_is_no_run_is_passed_over(config: Config, content: str) -> None:
    """And does not take a run's place in the list."""
    with logged(config, "ingest", {}):
        pass
    kept = latest(config)
    changed = json.loads(content)
    if isinstance(changed, dict) and "run" not in changed:
        content = json.dumps(asdict(kept) | changed)
    (Path(config.staging.uri) / "docs" / "runs" / "99999999-bad.json").write_text(content)
    assert wiring.run_files(config).latest(1) == [kept]


def test_the_oldest_runs_are_removed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a run ends: a sync each minute would leave half a million files a year."""
    monkeypatch.setattr(run_files, "NUM_KEPT", 3)
    for number in range(5):
        with logged(config, "sync", {}) as run:
            run.documents = number
    assert [run.documents for run in wiring.run_files(config).latest(9)] == [4, 3, 2]


def test_many_runs_of_one_kind_remove_none_of_another(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue's pushes may be thousands an hour."""
    monkeypatch.setattr(run_files, "NUM_KEPT", 3)
    for kind in ("ingest", *["push"] * 5):
        with logged(config, kind, {}):
            pass
    kept = wiring.run_files(config)
    assert [run.kind for run in kept.latest(9)] == ["push"] * 3 + ["ingest"]
    assert [run.kind for run in kept.latest(1, "ingest")] == ["ingest"]
    assert kept.latest(9, "audit") == []


def test_what_a_run_has_found_is_its_message(config: Config) -> None:
    """Where it ends by an exit code alone: an audit prints its findings itself."""

    def audit() -> None:
        with logged(config, "audit", {}) as run:
            run.problem = "rows of l05_h00: 3 are wrong"
            raise typer.Exit(6)

    with pytest.raises(typer.Exit):
        audit()
    kept = latest(config)
    assert (kept.state, kept.message) == ("failed", "rows of l05_h00: 3 are wrong")


def test_runs_of_one_kind_are_listed(config: Config, tmp_path: Path) -> None:
    """A kind that there is not is refused with those that there are."""
    for kind in ("ingest", "push", "push"):
        with logged(config, kind, {}):
            pass
    file = tmp_path / "mrag.toml"
    file.write_text(f'index = "docs"\n[staging]\nuri = "{config.staging.uri}"\n')
    cli.add_commands(cli.app, ("runs", "status"))
    arguments = ["runs", "-c", str(file), "--json", "--kind"]
    shown = CliRunner().invoke(cli.app, [*arguments, "ingest"])
    assert [run["kind"] for run in json.loads(shown.stdout)["runs"]] == ["ingest"]
    refused = CliRunner().invoke(cli.app, [*arguments, "upsert"])
    assert isinstance(refused.exception, ConfigError)
    assert "push" in refused.exception.expected


def test_another_process_with_the_number_of_a_killed_one_is_not_the_run(
    config: Config, tmp_path: Path
) -> None:
    """A container's first process is always number 1, and its host's name may stay."""
    with logged(config, "ingest", {}):
        pass
    started = {"before": "2000-01-01T00:00:00+00:00", "this": latest(config).started_at}
    for name, started_at in started.items():
        running = replace(latest(config), run=f"9-{name}", state="running", ended_at="")
        wiring.run_files(config).write(replace(running, started_at=started_at))
    file = tmp_path / "mrag.toml"
    file.write_text(f'index = "docs"\n[staging]\nuri = "{config.staging.uri}"\n')
    cli.add_commands(cli.app, ("runs", "status"))
    shown = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--json", "--limit", "2"])
    states = {run["run"]: run["state"] for run in json.loads(shown.stdout)["runs"]}
    assert states == {"9-before": "killed", "9-this": "running"}


def test_hours_of_a_gpu_that_nothing_metered_are_not_shown(config: Config, tmp_path: Path) -> None:
    """Not even as 0.00."""
    with logged(config, "ingest", {}):
        pass
    file = tmp_path / "mrag.toml"
    file.write_text(f'index = "docs"\n[staging]\nuri = "{config.staging.uri}"\n')
    cli.add_commands(cli.app, ("runs", "status"))
    text = CliRunner().invoke(cli.app, ["runs", "-c", str(file)]).stdout
    assert "s of CPU" in text
    assert "GPU" not in text
    shown = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--json"]).stdout
    assert json.loads(shown)["runs"][0]["gpu_hours"] is None


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
    shown = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)["runs"]
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


def test_what_is_known_is_kept_between_phases(config: Config) -> None:
    """A run that is killed in a long phase has its version and the phases before; its end stays."""
    clock = PhaseTimes()
    during: list[RunFacts] = []
    with logged(config, "ingest", clock.seconds) as run:
        clock.between = run.keep
        clock.time("plan", lambda: during.append(latest(config)))
        run.version = "v1"
        usage.add(core_s=7_200.0)
        clock.time("embed", lambda: during.append(latest(config)))
    at_plan, at_embed = during
    assert (at_plan.known_at, at_plan.known_s, dict(at_plan.seconds)) == ("", None, {})
    assert (at_embed.state, at_embed.version, list(at_embed.seconds)) == ("running", "v1", ["plan"])
    assert at_embed.known_s is not None
    assert at_embed.duration_s is None
    assert at_embed.cpu_hours >= 2.0
    run.keep()
    assert (latest(config).state, list(latest(config).seconds)) == ("completed", ["plan", "embed"])


def test_a_killed_run_is_listed_with_what_is_known(config: Config, tmp_path: Path) -> None:
    """In place of its duration, how long it took at least."""
    with logged(config, "ingest", {"plan": 3.0}) as run:
        run.version = "v0123456789ab"
    killed = replace(
        latest(config),
        state="running",
        pid=2**22 + 1,
        started_at="2026-11-30T10:00:00+00:00",
        known_at="2026-11-30T11:00:00+00:00",
        ended_at="",
        worker_core_s=7_200.0,
    )
    wiring.run_files(config).write(killed)
    file = tmp_path / "mrag.toml"
    file.write_text(f'index = "docs"\n[staging]\nuri = "{config.staging.uri}"\n')
    cli.add_commands(cli.app, ("runs", "status"))
    shown = CliRunner().invoke(cli.app, ["runs", "-c", str(file), "--json"])
    [row] = json.loads(shown.stdout)["runs"]
    assert (row["state"], row["duration_s"], row["known_s"]) == ("killed", None, 3_600.0)
    assert row["seconds"] == {"plan": 3.0}
    text = CliRunner().invoke(cli.app, ["runs", "-c", str(file)]).stdout
    assert "killed  v0123456789ab  at least 3,600 s  at least 2.00 h of CPU" in text
    assert "seconds: plan 3.0" in text
