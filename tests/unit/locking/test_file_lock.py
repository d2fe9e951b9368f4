"""One run at a time on one index."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mrag_pipeline.errors import IndexBusy, StagingError
from mrag_pipeline.locking import file_lock
from mrag_pipeline.locking.file_lock import lock_folder, run_lock
from mrag_pipeline.settings.staging import StagingSpec

HOLD = """
import sys, time
from pathlib import Path
from mrag_pipeline.locking.file_lock import run_lock
with run_lock(Path(sys.argv[1]), "docs"):
    print("held", flush=True)
    time.sleep(60)
"""


def held_elsewhere(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_learns_who_holds_the_index(tmp_path: Path) -> None:
    """The message names process, host, start and age, at once and after a wait."""
    process = held_elsewhere(tmp_path)
    try:
        for wait_s, told in ((0.0, f"process {process.pid} on"), (0.2, "0.2 s that this one")):
            with (
                pytest.raises(IndexBusy, match=told) as error,
                run_lock(tmp_path, "docs", wait_s),
            ):
                pass
            assert " s ago)" in error.value.found
        with run_lock(tmp_path, "other"):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    """The owner file it leaves behind blocks nobody."""
    process = held_elsewhere(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((tmp_path / "docs" / "run.owner.json").read_text())["pid"] == process.pid
    with run_lock(tmp_path, "docs"):
        told = json.loads((tmp_path / "docs" / "run.owner.json").read_text())
        assert told["pid"] == os.getpid()
    assert not (tmp_path / "docs" / "run.owner.json").exists()


def test_a_second_run_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run starts when the first has ended."""
    order = []
    started, second_waits = threading.Event(), threading.Event()
    sleep = time.sleep

    def poll(seconds: float) -> None:
        second_waits.set()
        sleep(0.001)

    def first() -> None:
        with run_lock(tmp_path, "docs"):
            started.set()
            assert second_waits.wait(30)
            order.append("first")

    monkeypatch.setattr(time, "sleep", poll)
    thread = threading.Thread(target=first)
    thread.start()
    started.wait()
    with run_lock(tmp_path, "docs", wait_s=30):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be stands for every such reason."""
    (tmp_path / "staging").write_text("not a folder")
    with (
        pytest.raises(StagingError, match="cannot write"),
        run_lock(tmp_path / "staging", "docs"),
    ):
        pass


def test_a_folder_that_became_unwritable_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run's lock file in it can be written still."""
    with run_lock(tmp_path, "docs"):
        pass
    monkeypatch.setattr(file_lock, "is_writable", lambda folder: folder != tmp_path / "docs")
    with (
        pytest.raises(StagingError, match=f"cannot write to the staging folder {tmp_path}/docs"),
        run_lock(tmp_path, "docs"),
    ):
        pytest.fail("the run began")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("/data/staging", Path("/data/staging")),
        ("file:///data/staging", Path("/data/staging")),
        ("s3://bucket/staging", None),
        ("gs://bucket/staging", None),
    ],
)
def test_an_object_store_has_no_lock_file(uri: str, place: Path | None) -> None:
    """Only a disk has a lock that dies with its owner."""
    assert lock_folder(StagingSpec(uri=uri)) == place
