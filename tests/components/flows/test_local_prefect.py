"""The Prefect server of a run: out of Ctrl-C's reach, back if it dies, gone at the end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import httpx
import pytest

from mrag_pipeline.flows import prefect_server
from mrag_pipeline.flows.prefect_server import LocalServer, PrefectNotStarted

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Started; ended after the test."""
    made = LocalServer()
    yield made
    made.stop()


def test_it_is_in_a_session_of_its_own_and_comes_back_at_its_address(server: LocalServer) -> None:
    """Ctrl-C reaches the terminal's process group; a run's clients know the address."""
    server.wait()
    address, process = server.url, server._process
    assert os.getsid(process.pid) != os.getsid(0)
    process.kill()
    until = time.monotonic() + 120
    while server._process is process or not _answers(address):
        assert time.monotonic() < until
        time.sleep(0.1)
    again = server._process
    server.stop()
    assert again.poll() is not None


def test_it_answers_this_machine_and_no_page_of_another_site(server: LocalServer) -> None:
    """Neither one that reads it across origins, nor one whose name leads to 127.0.0.1."""
    server.wait()
    elsewhere = {"Origin": "http://elsewhere.example"}
    allowed = httpx.get(f"{server.url}/health", headers=elsewhere)
    assert (allowed.status_code, allowed.text) == (200, "true")
    assert "access-control-allow-origin" not in allowed.headers
    renamed = httpx.get(f"{server.url}/health", headers={"Host": "elsewhere.example"})
    assert renamed.status_code == 400


def test_one_that_cannot_start_says_why_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words, not a time-out."""
    popen = subprocess.Popen

    def broken(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return popen(
            [word.replace("local_prefect", "no_such_module") for word in command], **options
        )

    monkeypatch.setattr(subprocess, "Popen", broken)
    server = LocalServer()
    try:
        with pytest.raises(PrefectNotStarted, match=r"ended with exit code 1: .*no_such_module"):
            server.wait()
    finally:
        server.stop()


def test_one_whose_libraries_do_not_fit_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the import is its last words."""
    (tmp_path / "uvicorn.py").write_text("raise ImportError('two releases do not fit')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    server = LocalServer()
    try:
        with pytest.raises(PrefectNotStarted, match=r"exit code 1: .*two releases do not fit"):
            server.wait()
    finally:
        server.stop()


def _answers(address: str) -> bool:
    try:
        prefect_server._ask(address)
    except (URLError, TimeoutError, ConnectionError):
        return False
    return True
