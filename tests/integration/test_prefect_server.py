"""The local Prefect server: it runs beside the process that reports to it, and ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(300)

# A flow that reports to the local server, in a process as a command is.
SCRIPT = """
import json, sys
from mrag_pipeline.flows import prefect_server
server = prefect_server.start_server()
assert prefect_server.start_server() is server
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.artifacts import create_markdown_artifact
@flow
def reported():
    create_markdown_artifact("seen", key="seen")
with prefect_server.reporting_to(server):
    reported()
    with get_client(sync_client=True) as client:
        runs = [run.state_name for run in client.read_flow_runs()]
print(json.dumps({"runs": runs, "pid": server._process.pid,
    "imported": "prefect.server.api.server" in sys.modules}))
"""


def _run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    own = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=kept | own | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90"} | variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_runs_are_reported_to_a_server_that_ends_with_the_process(tmp_path: Path) -> None:
    """One server, in another process: the run's own does not import it."""
    ended = _run(tmp_path)
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout.splitlines()[-1])
    assert facts["runs"] == ["Completed"]
    assert not facts["imported"]
    assert not psutil.pid_exists(facts["pid"])


def test_a_server_that_is_late_is_said(tmp_path: Path) -> None:
    """The wait has an end, and the message says what was waited for."""
    ended = _run(tmp_path, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="1")
    assert ended.returncode != 0
    assert "the local Prefect server did not answer within 1 s" in ended.stderr


def test_a_killed_process_leaves_no_server(tmp_path: Path) -> None:
    """After kill -9 nothing of it runs that would end the server."""
    killed = """
import os, signal
from mrag_pipeline.flows import prefect_server
server = prefect_server.start_server()
server.wait()
print(server._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", killed],
        env=os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    pid = int(ended.stdout)
    until = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.1)
