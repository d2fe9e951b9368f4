"""Runs without a Prefect server: recorded in Prefect's database, whatever happens to whom."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.warm_recorder import WarmRecorder

pytestmark = pytest.mark.timeout(600)

# Runs in a process as a command is; each says which process records it.
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
    while record._process is None:  # a thread starts it
        time.sleep(0.01)
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

try:
    with reported:
        for how in sys.argv[1:]:
            flow(how, {"index": "docs"})
finally:
    print("prefect" in sys.modules)
"""


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return kept | {"PREFECT_HOME": str(home)}


def _python(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(home) | variables,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _run(*hows: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return _python("-c", SCRIPT, *hows, home=home, **variables)


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return database.execute(query).fetchall()


RUNS = "SELECT state_type, parameters FROM flow_run ORDER BY start_time"
TASKS = "SELECT name, state_type, run_count FROM task_run ORDER BY start_time"
ARTIFACTS = "SELECT key, type, description FROM artifact ORDER BY created"
SEEN = [("load-0", "COMPLETED", 2), ("last-0", "COMPLETED", 1)]
SHOWN = [
    *[("docs-1-load", "progress", "load: 3 rows")] * 2,  # of both tries
    ("docs-1-phases", "table", None),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Prefect's with two recorded runs of one process, of which the second fails."""
    folder = tmp_path_factory.mktemp("prefect")
    ended = _run("completed", "failed", home=folder)
    assert ended.returncode == 1, ended.stderr
    assert "ValueError: no good" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "False"  # the run's own process has no Prefect
    return folder


@pytest.fixture(scope="module")
def warm(home: Path) -> Iterator[WarmRecorder]:
    """Runs recorders for that folder."""
    recorder = WarmRecorder(_environment(home), home)
    yield recorder
    recorder.close()


STATES = ("task_run_state", "flow_run_state")


def _emptied(home: Path) -> Path:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        for table in ("artifact", "artifact_collection", *STATES, "task_run", "flow_run"):
            database.execute(f"DELETE FROM {table}")
        database.commit()
    return home


def test_a_run_its_phases_and_artifacts_are_recorded(home: Path) -> None:
    """With parameters, tries and progress; the flow has its name."""
    (state, parameters), _ = _rows(home, RUNS)
    assert state == "COMPLETED"
    assert json.loads(parameters) == {"how": "completed", "settings": {"index": "docs"}}
    assert _rows(home, TASKS)[:2] == SEEN
    assert _rows(home, ARTIFACTS)[:3] == SHOWN
    assert _rows(home, "SELECT data FROM artifact WHERE type = 'progress'") == [(100,)] * 3
    assert _rows(home, "SELECT name FROM flow") == [("mrag-test",)]


def test_times_are_the_runs_own(home: Path) -> None:
    """Not those at which the recording process was there to write."""
    times = "SELECT start_time, end_time, end_time > start_time FROM task_run ORDER BY start_time"
    (_, first, is_later), (second, _, _), *_ = _rows(home, times)
    assert is_later
    assert first <= second


def test_a_run_that_fails_is_recorded_so(home: Path) -> None:
    """With its error."""
    assert [row[0] for row in _rows(home, RUNS)] == ["COMPLETED", "FAILED"]
    assert [row[:2] for row in _rows(home, TASKS)[2:]] == [
        ("load-0", "COMPLETED"),
        ("last-0", "FAILED"),
    ]
    query = "SELECT message FROM flow_run_state WHERE type = 'FAILED'"
    [(said,)] = _rows(home, query)
    assert "no good" in said


def test_a_run_that_is_killed_is_recorded_so(home: Path) -> None:
    """The process that records it outlives it for a moment."""
    ended = _run("killed", home=_emptied(home))
    assert ended.returncode != 0
    recorder = int(ended.stdout.split()[0])
    until = time.monotonic() + 120
    while psutil.pid_exists(recorder) and psutil.Process(recorder).status() != "zombie":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [row[0] for row in _rows(home, RUNS)] == ["CRASHED"]
    assert [row[:2] for row in _rows(home, TASKS)] == [
        ("load-0", "COMPLETED"),
        ("last-0", "CRASHED"),
    ]
    query = "SELECT message FROM flow_run_state ORDER BY timestamp DESC LIMIT 1"
    [(said,)] = _rows(home, query)
    assert "ended without a word" in said


def test_a_recorder_that_was_killed_is_started_again(home: Path) -> None:
    """And writes the run once, whole."""
    ended = _run("unrecorded", home=_emptied(home))
    assert ended.returncode == 0, ended.stderr
    assert [row[0] for row in _rows(home, RUNS)] == ["COMPLETED"]
    assert _rows(home, TASKS) == SEEN


@pytest.mark.long
def test_a_run_that_cannot_be_recorded_is_done_all_the_same(home: Path) -> None:
    """The reason is told."""
    address = "sqlite+aiosqlite:////no/such/folder/prefect.db"
    ended = _run("completed", home=home, PREFECT_API_DATABASE_CONNECTION_URL=address)
    assert ended.returncode == 0
    assert "run_not_recorded" in ended.stderr
    assert "unable to open" in ended.stderr
    assert ended.stderr.count("restarted") == 1


RUN = "00000000-0000-4000-8000-000000000001"
TASK = "00000000-0000-4000-8000-000000000002"
BAR = "00000000-0000-4000-8000-000000000003"


def _line(second: int, **message: Any) -> str:
    return json.dumps({"at": f"2026-01-01T00:00:{second:02}+00:00", **message}) + "\n"


def _state_line(second: int, state: str, **owner: str) -> str:
    state_id = f"00000000-0000-4000-8000-0000000001{second:02}"
    return _line(second, what="state", id=state_id, state=state, message="", **owner)


LINES = [
    _line(1, what="run", run=RUN, flow="mrag-test", parameters={}),
    _line(2, what="task", run=RUN, task=TASK, name="load"),
    _line(
        3,
        what="artifact",
        artifact=BAR,
        kind="progress",
        key="k",
        value=0,
        about="",
        run=RUN,
        task=TASK,
    ),
    _state_line(4, "AwaitingRetry", task=TASK),
    _state_line(5, "Running", task=TASK),
    _line(6, what="update", artifact=BAR, value=100),
    _state_line(7, "Completed", task=TASK),
    _state_line(8, "Completed", run=RUN),
]
RUN_STATES = "SELECT type FROM flow_run_state ORDER BY timestamp"
TASK_STATES = "SELECT type FROM task_run_state ORDER BY timestamp"


RECORDER = ("-m", "mrag_pipeline.flows.record_process")


def test_lines_that_are_sent_again_change_nothing(home: Path, warm: WarmRecorder) -> None:
    """To a recorder that takes the place of one that was killed."""
    _emptied(home)
    queries = (RUNS, TASKS, ARTIFACTS, RUN_STATES, TASK_STATES)
    assert warm.record("".join(LINES)) == (0, "")
    once = [_rows(home, query) for query in queries]
    assert once[1] == [("load-0", "COMPLETED", 2)]
    assert len(once[2]) == 1
    assert warm.record("".join(LINES)) == (0, "")
    assert [_rows(home, query) for query in queries] == once


@pytest.mark.parametrize(("last", "code"), [(LINES[6][:-9], 0), ("no JSON\n", 1)])
def test_a_recorder_that_cannot_go_on_leaves_no_run_running(
    home: Path, warm: WarmRecorder, last: str, code: int
) -> None:
    """Half a line of a process that is gone, or an error; one that is started again writes on."""
    _emptied(home)
    assert warm.record("".join([*LINES[:6], last]))[0] == code
    assert [row[0] for row in _rows(home, RUNS)] == ["CRASHED"]
    assert [row[1] for row in _rows(home, TASKS)] == ["CRASHED"]
    if code:
        assert warm.record("".join(LINES)) == (0, "")
        assert [row[0] for row in _rows(home, RUNS)] == ["COMPLETED"]
        assert [row[1] for row in _rows(home, TASKS)] == ["COMPLETED"]
        assert len(_rows(home, ARTIFACTS)) == 1


def test_a_recorder_is_not_terminated_before_it_has_written(home: Path) -> None:
    """What ends the processes of a killed command sends SIGTERM while Prefect is imported."""
    _emptied(home)
    recorder = subprocess.Popen(
        [sys.executable, *RECORDER], env=_environment(home), stdin=subprocess.PIPE, text=True
    )
    process = psutil.Process(recorder.pid)
    until = time.monotonic() + 60
    while not any("pydantic_core" in mapped.path for mapped in process.memory_maps()):
        assert time.monotonic() < until
        time.sleep(0.01)
    recorder.terminate()
    recorder.communicate("".join(LINES[:2]), timeout=280)
    assert recorder.returncode == 0
    assert [row[0] for row in _rows(home, RUNS)] == ["CRASHED"]


@pytest.mark.parametrize(
    "name",
    [
        "PREFECT_SERVER_EPHEMERAL_ENABLED",
        pytest.param("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", marks=pytest.mark.long),  # its old name
    ],
)
def test_a_server_that_must_be_configured_is_asked_for(tmp_path: Path, name: str) -> None:
    """Prefect may not start one: a command says so before it begins, and `mrag doctor` too."""
    ended = _python("-m", "mrag_pipeline", "retire", home=tmp_path, **{name: "false"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("mrag: no Prefect server")
    code = "from mrag_pipeline.flows import prefect_server; prefect_server.describe()"
    ended = _python("-c", code, home=tmp_path, **{name: "false"})
    assert "ConfigError: no Prefect server" in ended.stderr


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    """Exit 2 and what to do, no traceback: it may have been killed a moment ago."""
    url = "http://127.0.0.1:9/api"
    ended = _python("-m", "mrag_pipeline", "retire", home=tmp_path, PREFECT_API_URL=url)
    assert ended.returncode == 2, ended.stderr
    assert f"mrag: no Prefect server answers at {url}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "unset PREFECT_API_URL" in ended.stderr


@pytest.mark.parametrize(
    "where", ["variable", "profile", pytest.param("prefect.toml", marks=pytest.mark.long)]
)
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
    ended = _python("-c", code, home=tmp_path, **variables)
    assert ended.stdout.split() == ["True"]
