"""How a Ray cluster is joined or started, over a fake Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from queue import Queue
from typing import Any
from unittest import mock

import psutil
import pytest

from mrag_pipeline.errors import RayBroken, WorkerLost
from mrag_pipeline.runtime import cluster, parts

Popen = subprocess.Popen[bytes]


class PlayedRay:
    """A fake Ray that fails to start a given number of times."""

    def __init__(self, failures: int, said: str = "Timed out waiting for file x") -> None:
        self.failures = failures
        self.said = said
        self.asked: list[str] = []
        self.stopped = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **_: Any) -> None:
        self.asked.append(address)
        if len(self.asked) <= self.failures:
            raise RuntimeError(self.said)

    def shutdown(self) -> None:
        self.stopped += 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> PlayedRay:
    ray = PlayedRay(request.param)
    monkeypatch.setattr(cluster, "ray", ray)
    return ray


@pytest.mark.parametrize("played", [0, 1, 2], indirect=True)
def test_a_local_ray_that_fails_to_start_is_started_again(played: PlayedRay) -> None:
    """Twice, each time after the remains of the last try are shut down."""
    assert cluster.connect_ray("") is True
    assert played.asked == ["local"] * (1 + played.failures)
    assert played.stopped == played.failures


@pytest.mark.parametrize("played", [0], indirect=True)
@pytest.mark.parametrize("mode", ["disabled", "", "token"])
def test_a_local_ray_asks_for_a_token_whatever_the_shell_says(
    played: PlayedRay, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable Ray asks; a cluster that is joined has its user's way."""
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    cluster.connect_ray("head:6379")
    assert os.environ["RAY_AUTH_MODE"] == mode
    cluster.connect_ray("")
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.parametrize("played", [9], indirect=True)
def test_a_local_ray_that_does_not_start_is_reported(played: PlayedRay) -> None:
    """After three tries; the error offers the serial pool."""
    with pytest.raises(WorkerLost, match="a local Ray did not start") as caught:
        cluster.connect_ray("")
    assert len(played.asked) == 3
    assert "'serial'" in caught.value.fix


@pytest.mark.parametrize("played", [9], indirect=True)
def test_a_cluster_that_does_not_answer_is_reported(played: PlayedRay) -> None:
    """After one try."""
    with pytest.raises(WorkerLost, match="no Ray cluster at 'ray://head:10001'"):
        cluster.connect_ray("ray://head:10001")
    assert len(played.asked) == 1


@pytest.mark.parametrize("played", [1], indirect=True)
def test_a_ray_client_server_that_fails_to_start_is_tried_again(played: PlayedRay) -> None:
    """A busy head may start it too late the first time."""
    played.said = "Traceback ...\nRuntimeError: Starting Ray client server failed. See x.err"
    assert cluster.connect_ray("ray://head:10001") is True
    assert len(played.asked) == 2


@pytest.mark.parametrize("played", [9], indirect=True)
def test_only_the_last_line_of_a_traceback_is_shown(played: PlayedRay) -> None:
    """The traceback is another process's; its last line names the error."""
    played.said = "Traceback (most recent call last):\n  File x\nRuntimeError: no room"
    with pytest.raises(WorkerLost) as caught:
        cluster.connect_ray("ray://head:10001")
    assert caught.value.found == "no Ray cluster at 'ray://head:10001': RuntimeError: no room"


@pytest.mark.parametrize("played", [9], indirect=True)
def test_a_cluster_that_requires_a_token_is_reported(played: PlayedRay) -> None:
    """The error names the variables that hold the token."""
    played.said = "RPC error: InvalidAuthToken: Authentication token is missing or incorrect"
    with pytest.raises(WorkerLost, match="refuses this process") as caught:
        cluster.connect_ray("head:6379")
    assert "RAY_AUTH_MODE=token" in caught.value.fix
    assert "RAY_AUTH_TOKEN_PATH" in caught.value.fix


def test_a_cluster_that_goes_away_is_reported() -> None:
    """A remote driver's connection breaks; the error says that finished shards are kept."""
    gone = pytest.raises(WorkerLost, match="stopped answering")
    with gone as caught, cluster.answering():
        raise ConnectionError("Client is shutting down.")
    assert "finished shards are kept" in caught.value.fix


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Popen, Popen]]:
    """Processes that are taken for a Ray's parts a and b; the tests' own Ray is left out."""
    one, other = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    known = {psutil.Process(one.pid): "a", psutil.Process(other.pid): "b"}
    monkeypatch.setattr(parts, "running", known.items)
    monkeypatch.setattr(cluster, "_parts", parts.Parts(unnoticed_s=1.0))
    yield one, other
    for process in (one, other):
        process.kill()
        process.wait()


def end(part: Popen) -> None:
    part.kill()
    os.waitid(os.P_PID, part.pid, os.WEXITED | os.WNOWAIT)  # left as a zombie


@pytest.mark.parametrize("played", [0], indirect=True)
def test_a_part_that_has_ended_is_named_and_not_waited_for(
    played: PlayedRay, two_parts: tuple[Popen, Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own shutdown would wait for its answers. Who was told of it may take his time."""
    part, other = two_parts
    monkeypatch.setattr(parts, "when_lost", lambda _: pytest.fail("it was noticed"))
    cluster.connect_ray("")
    cluster.check_alive()
    end(part)
    with pytest.raises(RayBroken, match=f"a part .*: a \\(process {part.pid}\\)"):
        cluster.check_alive()
    time.sleep(2)
    cluster.disconnect_ray()
    assert played.stopped == 0
    assert other.wait(10) == -9
    cluster.check_alive()  # nothing is looked after any more


@pytest.mark.parametrize("when", ["while Ray starts", "while Ray is used"])
def test_a_loss_that_nobody_notices_ends_the_command(
    two_parts: tuple[Popen, Popen], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """What waits for it cannot be interrupted; Ray would end the process a minute later."""
    part, _ = two_parts
    lost: Queue[RayBroken] = Queue()
    monkeypatch.setattr(parts, "when_lost", lost.put)
    looked_after = parts.Parts(unnoticed_s=0.5)
    with looked_after.starting():
        if when == "while Ray starts":
            time.sleep(2)  # it is seen to run
            end(part)
            error = lost.get(timeout=30)
    if when == "while Ray is used":
        end(part)
        error = lost.get(timeout=30)
    looked_after.forget()
    assert f"a (process {part.pid})" in error.found


def test_a_part_that_ends_by_itself_while_ray_starts_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a raylet does on a busy machine: Ray gives up in its own time, and is started again."""
    part = subprocess.Popen(["sleep", "1"])
    known = {psutil.Process(part.pid): "a"}
    monkeypatch.setattr(parts, "running", known.items)
    lost: Queue[RayBroken] = Queue()
    monkeypatch.setattr(parts, "when_lost", lost.put)
    looked_after = parts.Parts(unnoticed_s=0.1, starting_s=4.0)
    with looked_after.starting():
        os.waitid(os.P_PID, part.pid, os.WEXITED | os.WNOWAIT)
        time.sleep(2)
        assert lost.empty()
        lost.get(timeout=30)  # but not for ever
    looked_after.forget()
    part.wait()


def test_a_ray_that_does_not_start_may_lose_its_parts(
    two_parts: tuple[Popen, Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started again; what it has lost is no loss. What was there before it is not its own."""
    part, other = two_parts
    lost: list[RayBroken] = []
    monkeypatch.setattr(parts, "when_lost", lost.append)
    looked_after = parts.Parts(unnoticed_s=0.5)
    with pytest.raises(TimeoutError), looked_after.starting():
        raise TimeoutError
    assert other.poll() is None
    end(part)
    time.sleep(3)
    assert lost == []
    looked_after.check()


def test_the_parts_of_a_ray_that_does_not_start_are_told_and_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that hangs would take its memory until the command ends. How each ended says why."""
    monkeypatch.setitem(parts.NAMES, "sleep", "a part")

    def start() -> None:
        with parts.Parts().starting():
            started = (
                subprocess.Popen(["sleep", "60"]),
                subprocess.Popen(["cat"], stdin=subprocess.PIPE),
            )
            started[1].send_signal(signal.SIGABRT)
            os.waitid(os.P_PID, started[1].pid, os.WEXITED | os.WNOWAIT)
            waited.append(started)
            raise TimeoutError

    waited: list[tuple[Popen, Popen]] = []
    with pytest.raises(TimeoutError):
        start()
    [(part, lost)] = waited
    assert part.wait(10) == -9
    assert lost.wait(10) == -signal.SIGABRT
    assert f"sleep {part.pid} " in caplog.text
    assert f"cat {lost.pid} zombie, signal 6" in caplog.text


def test_only_children_are_parts() -> None:
    """A raylet's forks have its name for a moment, and end."""
    forking = "import subprocess, sys; subprocess.run(['sleep', '30'])"
    child = subprocess.Popen([sys.executable, "-c", forking])
    try:
        until = time.monotonic() + 30
        while not psutil.Process(child.pid).children():
            assert time.monotonic() < until
            time.sleep(0.05)
        grandchild = psutil.Process(child.pid).children()[0]
        with mock.patch.dict(parts.NAMES, {"sleep": "x", psutil.Process(child.pid).name(): "y"}):
            found = [process.pid for process, _ in parts.running()]
        assert child.pid in found
        assert grandchild.pid not in found
    finally:
        grandchild.kill()
        child.kill()
        child.wait()
