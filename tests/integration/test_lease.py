"""Runs of several processes on one index of a server, each with its own staging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.wiring import at_work
from tests.support.milvus_lite_server import lite_server

# Acts as another host: host name, kernel and staging differ from ours.
HOLD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from mrag_pipeline.wiring import at_work
from mrag_pipeline.config import Config
from mrag_pipeline.locking import owner
from mrag_pipeline.locking import index_lease
from mrag_pipeline.errors import MragError
if sys.argv[3] == "elsewhere":
    owner.socket.gethostname = lambda: "elsewhere"
    owner._birth = lambda pid: f"another kernel/1/{pid}"
index_lease.BEAT_S = 0.3
settings = {"index": sys.argv[4], "staging": {"uri": sys.argv[1]}, "milvus": {"uri": sys.argv[2]}}
try:
    with at_work.run_lock(Config.parse(settings)):
        print("held", flush=True)
        time.sleep(60)
except MragError as error:
    sys.exit(f"{type(error).__name__}: {error.found}")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with lite_server(tmp_path_factory.mktemp("lease") / "x.db") as server:
        yield server.uri


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrag_pipeline.locking.index_lease.BEAT_S", 0.3)
    monkeypatch.setattr("mrag_pipeline.locking.index_lease.LOOK_S", 0.2)


@pytest.fixture
def config(server: str, tmp_path: Path) -> Config:
    """An index and a staging folder that no other test uses."""
    index = f"i{abs(hash(tmp_path)):x}"
    mine = {"uri": str(tmp_path / "mine")}
    return Config.parse({"index": index, "staging": mine, "milvus": {"uri": server}})


def held_by(config: Config, folder: Path, where: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), config.milvus.uri, where, config.index],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_on_another_host_is_refused(config: Config, tmp_path: Path) -> None:
    """Without a common disk or Prefect, the error names the owner, at once and after waiting."""
    process = held_by(config, tmp_path / "theirs", "elsewhere")
    try:
        told = f"process {process.pid} on elsewhere, since"
        for wait_s in (0.0, 0.5):
            with pytest.raises(IndexBusy, match=told), at_work.run_lock(config, wait_s):
                pass
        other = config.model_copy(update={"index": "other"})
        with at_work.run_lock(other):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_waiting_run_starts_when_the_other_has_ended(config: Config, tmp_path: Path) -> None:
    """Ctrl-C removes the other's flag at once."""
    process = held_by(config, tmp_path / "theirs", "elsewhere")
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    with at_work.run_lock(config, wait_s=60):
        waited = time.monotonic() - started
    process.communicate()
    assert waited < 10


def test_a_run_killed_elsewhere_is_found_dead(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its flag is no longer renewed."""
    monkeypatch.setattr("mrag_pipeline.locking.index_lease.Watch.__init__.__defaults__", (5,))
    process = held_by(config, tmp_path / "theirs", "elsewhere")
    process.kill()
    process.communicate()
    with at_work.run_lock(config):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_killed_on_this_host_blocks_nobody(config: Config, tmp_path: Path) -> None:
    """The next command starts without waiting for a minute."""
    process = held_by(config, tmp_path / "theirs", "here")
    process.kill()
    process.communicate()
    started = time.monotonic()
    with at_work.run_lock(config):
        assert time.monotonic() - started < 5


def test_a_run_that_was_stopped_for_long_ends(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has taken over: the resumed one ends and says why."""
    monkeypatch.setattr("mrag_pipeline.locking.index_lease.Watch.__init__.__defaults__", (5,))
    process = held_by(config, tmp_path / "theirs", "elsewhere")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with at_work.run_lock(config):
            os.kill(process.pid, signal.SIGCONT)
            _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 1
    assert "IndexBusy: this run was silent for so long" in err
