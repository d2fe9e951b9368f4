"""Runs without a Prefect server: recorded in Prefect's database, whatever happens to whom."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(600)

# A run in a process as a command is; it says which process records it.
SCRIPT = """
import os, signal, sys, time
from mrag_pipeline import library_settings
library_settings.settle()
from mrag_pipeline.flows import run_record
from mrag_pipeline.flows.reporting import reporting
reported = reporting()
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.flows import artifacts, engine
from mrag_pipeline.flows.progress import LogProgress
failures = [IndexUnavailable("no answer")]

def load(rows: int) -> int:
    bar = artifacts.flow_progress("Docs_1")
    bar.phase("load", rows, "rows")
    bar.finish()
    if failures:
        raise failures.pop()
    return rows

load = engine.plain_repeated_task(load, lambda _: None)

@engine.task
def last(how: str) -> None:
    record = run_record.current()
    print(record._process.pid, flush=True)
    if how == "failed":
        raise ValueError("no good")
    if how == "killed":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "unrecorded":
        os.kill(record._process.pid, signal.SIGKILL)

@engine.flow(name="mrag-test")
def flow(how: str, settings: dict | None = None) -> None:
    load(3)
    artifacts.phases_table("Docs_1", [{"phase": "load", "seconds": 0.5}])
    last(how)

with reported:
    flow(sys.argv[1], {"index": "docs"})
print("prefect" in sys.modules)
"""


def _run(how: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        env=kept | {"PREFECT_HOME": str(home)} | variables,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return database.execute(query).fetchall()


RUNS = "SELECT state_type, parameters FROM flow_run"
TASKS = "SELECT name, state_type, run_count FROM task_run ORDER BY start_time"
ARTIFACTS = "SELECT key, type, description FROM artifact ORDER BY created"
SEEN = [("load-0", "COMPLETED", 2), ("last-0", "COMPLETED", 1)]
SHOWN = [
    *[("docs-1-load", "progress", "load: 3 rows")] * 2,  # of both tries
    ("docs-1-phases", "table", None),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Prefect's with one recorded run."""
    folder = tmp_path_factory.mktemp("prefect")
    ended = _run("completed", folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "False"  # the run's own process has no Prefect
    return folder


def _emptied(home: Path) -> Path:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        for table in ("artifact", "artifact_collection", "task_run", "flow_run"):
            database.execute(f"DELETE FROM {table}")
        database.commit()
    return home


def test_a_run_its_phases_and_artifacts_are_recorded(home: Path) -> None:
    """With parameters, tries and progress; the flow has its name."""
    [(state, parameters)] = _rows(home, RUNS)
    assert state == "COMPLETED"
    assert json.loads(parameters) == {"how": "completed", "settings": {"index": "docs"}}
    assert _rows(home, TASKS) == SEEN
    assert _rows(home, ARTIFACTS) == SHOWN
    assert _rows(home, "SELECT data FROM artifact WHERE type = 'progress'") == [(100,)] * 2
    assert _rows(home, "SELECT name FROM flow") == [("mrag-test",)]


def test_times_are_the_runs_own(home: Path) -> None:
    """Not those at which the recording process was there to write."""
    times = "SELECT start_time, end_time, end_time > start_time FROM task_run ORDER BY start_time"
    (_, first, is_later), (second, _, _) = _rows(home, times)
    assert is_later
    assert first <= second


@pytest.mark.parametrize(
    ("how", "state", "message"),
    [("failed", "FAILED", "no good"), ("killed", "CRASHED", "ended without a word")],
)
def test_a_run_that_ends_badly_is_recorded_so(
    home: Path, how: str, state: str, message: str
) -> None:
    """Even if its process is killed: the one that records it outlives it for a moment."""
    ended = _run(how, _emptied(home))
    assert ended.returncode != 0
    recorder = int(ended.stdout.split()[0])
    until = time.monotonic() + 120
    while psutil.pid_exists(recorder) and psutil.Process(recorder).status() != "zombie":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [row[0] for row in _rows(home, RUNS)] == [state]
    assert [row[:2] for row in _rows(home, TASKS)] == [("load-0", "COMPLETED"), ("last-0", state)]
    query = "SELECT message FROM flow_run_state ORDER BY timestamp DESC LIMIT 1"
    [(said,)] = _rows(home, query)
    assert message in said


def test_a_recorder_that_was_killed_is_started_again(home: Path) -> None:
    """And writes the run once, whole."""
    ended = _run("unrecorded", _emptied(home))
    assert ended.returncode == 0, ended.stderr
    assert [row[0] for row in _rows(home, RUNS)] == ["COMPLETED"]
    assert _rows(home, TASKS) == SEEN


def test_a_run_that_cannot_be_recorded_is_done_all_the_same(home: Path) -> None:
    """The reason is told."""
    address = "sqlite+aiosqlite:////no/such/folder/prefect.db"
    ended = _run("completed", home, PREFECT_API_DATABASE_CONNECTION_URL=address)
    assert ended.returncode == 0
    assert "run_not_recorded" in ended.stderr
    assert "unable to open" in ended.stderr
    assert "restarted" not in ended.stderr


@pytest.mark.parametrize("where", ["variable", "profile", "prefect.toml"])
def test_a_configured_server_gets_the_runs(tmp_path: Path, where: str) -> None:
    """By whatever way Prefect is told of it, nothing is recorded beside it."""
    url = "http://127.0.0.1:9/api"
    variables = {"PREFECT_API_URL": url} if where == "variable" else {}
    profile = f'active = "own"\n[profiles.own]\nPREFECT_API_URL = "{url}"\n'
    if where == "profile":
        (tmp_path / "profiles.toml").write_text(profile)
    elif where == "prefect.toml":
        (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{url}"\n')
    code = (
        "from mrag_pipeline.flows.reporting import reporting; reporting(); "
        "from mrag_pipeline.flows import engine; engine.flow(name='x')(print); "
        "print(engine.are_prefects_own())"
    )
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PREFECT_HOME": str(tmp_path)} | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["True"]
