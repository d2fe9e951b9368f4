"""What a run sends to its recorder; a small program that keeps the lines takes its place."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mrag_pipeline.flows import artifacts, engine, reporting, run_record
from mrag_pipeline.flows.engine import plain_flow
from tests.support.builds import RecordingProgress

# Says when it starts and ends, and keeps what it reads.
RECORDER = """
import sys, time
with open(sys.argv[1], "a") as kept:
    print("start", file=kept, flush=True)
    time.sleep(0.3)
    for line in sys.stdin:
        kept.write(line)
    print("end", file=kept)
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What recorders have written."""
    file = tmp_path / "written"
    command = (sys.executable, "-I", "-S", "-c", RECORDER, str(file))
    monkeypatch.setattr(run_record, "COMMAND", command)
    yield file
    run_record.wait(30)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _messages(file: Path, what: str) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in _lines(file) if line not in ("start", "end")]
    return [message for message in read if message["what"] == what]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _run(number: int) -> int:
    return number


run = plain_flow(_run, "mrag-test")


def test_a_stages_thread_moves_the_bar(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads do not inherit the context in which the run is recorded."""
    monkeypatch.setattr(artifacts, "EVERY_S", 0.0)
    with run_record.kept():
        bar = artifacts.ArtifactProgress(RecordingProgress(), "docs")
        bar.phase("load", 4, "rows")
        thread = threading.Thread(target=bar.advance, args=(1,))
        thread.start()
        thread.join()
    run_record.wait(30)
    [made], [moved] = _messages(written, "artifact"), _messages(written, "update")
    assert moved["value"] == 25.0
    assert moved["artifact"] == made["artifact"]


def test_quick_runs_share_a_recorder_and_leave_nothing(written: Path) -> None:
    """One recorder at a time; no open file, thread or record is left."""
    with run_record.kept():
        run(0)
    run_record.wait(30)
    open_files = psutil.Process().num_fds()
    for number in range(1, 30):
        with run_record.kept():
            run(number)
    _until(lambda: not any(thread.name == "run-record" for thread in threading.enumerate()))
    gc.collect()
    assert psutil.Process().num_fds() == open_files
    assert not any(isinstance(kept, run_record.RunRecord) for kept in gc.get_objects())
    parameters = [message["parameters"] for message in _messages(written, "run")]
    assert parameters == [{"number": number} for number in range(30)]
    turns = [line for line in _lines(written) if line in ("start", "end")]
    # Of the first run, the second, and those meanwhile, which the second may be one of.
    assert turns in (["start", "end"] * 2, ["start", "end"] * 3)


def test_runs_at_the_same_time_share_a_recorder(written: Path) -> None:
    """It ends with the last of them."""
    with run_record.kept():
        run(1)
        with run_record.kept():
            run(2)
        run(3)
    run_record.wait(30)
    assert len(_messages(written, "run")) == 3
    assert _lines(written).count("start") == 1


def test_a_recorder_of_no_run_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before its run starts does not wait for Prefect's imports."""
    command = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")
    monkeypatch.setattr(run_record, "COMMAND", command)
    begun = time.monotonic()
    with pytest.raises(ValueError, match="no model"), run_record.kept():
        raise ValueError("no model")
    run_record.wait(50)
    assert time.monotonic() - begun < 30


def test_a_recorder_that_is_given_up_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of the process it has its time, and no more."""
    code = f"open({str(tmp_path / 'starts')!r}, 'ab', 0).write(b'x'); import time; time.sleep(60)"
    monkeypatch.setattr(run_record, "COMMAND", (sys.executable, "-I", "-S", "-c", code))
    with run_record.kept():
        run(1)
    _until(lambda: (tmp_path / "starts").exists())
    with run_record.kept():
        run(2)  # its turn has not come yet
    run_record.wait(0.1)
    _until(lambda: not any(thread.name == "run-record" for thread in threading.enumerate()))
    assert (tmp_path / "starts").read_text() == "x"
    assert caplog.messages == ["run_not_recorded reason='Prefect took more than 0.1 s'"]


@pytest.mark.parametrize(
    ("code", "starts"), [("sys.exit(1)", 2), ("os.kill(os.getpid(), 9)", run_record.STARTS)]
)
def test_a_recorder_that_fails_is_started_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
    starts: int,
) -> None:
    """Once after an error of its own, twice if it is killed; the run is done."""
    count = tmp_path / "starts"
    code = f"import os, sys; open({str(count)!r}, 'ab', 0).write(b'x'); sys.stdin.read(); {code}"
    monkeypatch.setattr(run_record, "COMMAND", (sys.executable, "-I", "-S", "-c", code))
    with run_record.kept():
        assert run(1) == 1
    run_record.wait(30)
    assert count.read_text() == "x" * starts
    assert caplog.messages[-1].startswith("run_not_recorded")


@pytest.mark.parametrize("missing", ["process", "temporary folder", "thread"])
def test_a_record_that_cannot_be_started_stops_no_run(
    written: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    """The reason is told."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("none left") if missing == "thread" else OSError("none left")

    if missing == "process":
        monkeypatch.setattr(subprocess, "Popen", fail)
    elif missing == "thread":
        monkeypatch.setattr(run_record.RunRecord, "start", fail)
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with caplog.at_level(logging.WARNING), run_record.kept():
        assert run(1) == 1
    run_record.wait(30)
    assert caplog.messages == ["run_not_recorded reason='none left'"]
    assert not written.exists()


def test_a_user_without_a_home_runs_without_a_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Prefect has no folder then."""

    def no_home(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setattr(engine, "HAS_PREFECT", True)
    monkeypatch.setattr(engine, "are_prefects_own", lambda: False)
    monkeypatch.setattr(engine, "_is_plain", False)
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    for name in (reporting.SERVER_VARIABLE, *reporting._VARIABLES, "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    with reporting.reporting():
        assert run_record.current() is None
    assert engine._is_plain
    assert "run_not_recorded" in caplog.text


def test_a_failed_runs_report_names_its_record(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook's run_id is found in Prefect."""
    reports: list[dict[str, str]] = []
    monkeypatch.setattr(
        "mrag_pipeline.flows.engine.report", lambda facts, _parameters: reports.append(facts)
    )
    refused: Any = run
    with run_record.kept(), pytest.raises(ValueError, match="number"):
        refused("no number")
    run_record.wait(30)
    [sent] = _messages(written, "run")
    assert [facts["run_id"] for facts in reports] == [sent["run"]]
