"""Processes are waited for until they have ended, whoever has their ids by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.processes import alive_after, is_alive
from mrag_pipeline.runtime import cluster, session_folder
from mrag_pipeline.runtime.parts import Parts
from mrag_pipeline.serving.ray import haproxy, launcher
from tests.support.reused_ids import reused_by_a_thread


def test_who_does_not_end_is_told() -> None:
    """After so long."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        process = psutil.Process(waiting.pid)
        assert alive_after(0.2, [process]) == [process]
        waiting.communicate(b"\n")
        assert alive_after(20, [process]) == []


def test_a_process_whose_id_a_thread_got_has_ended() -> None:
    """psutil.wait_procs raises FileNotFoundError for it."""
    with reused_by_a_thread() as process:
        assert alive_after(20, [process]) == []


def test_a_process_that_may_not_be_looked_at_has_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A part of Ray is not called lost because its state cannot be read."""
    process = psutil.Process()

    def refuse() -> str:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(process, "status", refuse)
    assert is_alive(process)


def test_a_service_ends_its_other_processes() -> None:
    """Those that do not end are killed, also where a thread has got the id of one that has."""
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting,
        reused_by_a_thread() as process,
    ):
        launcher.end([process, psutil.Process(waiting.pid)], seconds=0.2)
        assert waiting.wait(20) == -9


def test_a_front_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a thread has got its id as soon as it was told to stop."""
    with reused_by_a_thread() as process:
        monkeypatch.setattr(process, "name", lambda: "haproxy")
        monkeypatch.setattr(process, "send_signal", lambda number: None)
        haproxy.finish([process], seconds=20)


def test_a_local_ray_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where a thread has got the id of one of its processes as soon as that ended."""
    session, parts = tmp_path / "session", Parts()
    session.mkdir()
    session_folder.mark(session)
    with reused_by_a_thread() as process:
        parts._parts = {process: "the raylet"}
        monkeypatch.setattr(parts, "are_running", lambda: True)  # until Ray is shut down
        monkeypatch.setattr("ray.shutdown", lambda: None)
        monkeypatch.setattr(cluster, "_parts", parts)
        monkeypatch.setattr(cluster, "_session", session)
        cluster.disconnect_ray()
    assert parts.all() == []
    assert not session.exists()
