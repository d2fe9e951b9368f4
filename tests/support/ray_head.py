"""A Ray head node of the tests' own: with its job server and its server for remote drivers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

from mrag_pipeline.processes import alive_after

RAY = str(Path(sys.executable).parent / "ray")
ROOT = Path(__file__).parents[2]
START_S = 240.0  # on a busy machine


@dataclass(frozen=True, slots=True)
class Head:
    """Where it is reached."""

    address: str  # HOST:PORT, by drivers on its nodes
    client: str  # ray://HOST:PORT, by drivers elsewhere
    jobs: str  # http://HOST:PORT, by `ray job submit`
    env: Mapping[str, str]  # of those who reach it


@contextmanager
def ray_head(
    log: Path, num_cpus: int = 2, variables: Mapping[str, str] | None = None
) -> Iterator[Head]:
    """A head node on the loopback, as `ray start` starts it, while the block runs.

    Args:
        variables: of its environment, and of its processes'.
    """
    ports = _free_ports(5)
    env = (
        os.environ
        | a_token()
        | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            # As an installed package would be, on every node.
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        | dict(variables or {})
    )
    env.pop("RAY_ADDRESS", None)
    # A short path: the names of Ray's sockets are long.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        ended_with("MRAG_TEST_HEAD") as mark,
    ):
        env |= mark
        command = [
            *(RAY, "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={ports[0]}", f"--temp-dir={folder}"),
            *(f"--num-cpus={num_cpus}", "--object-store-memory=100000000"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={ports[1]}"),
            *(f"--ray-client-server-port={ports[2]}", f"--dashboard-agent-listen-port={ports[3]}"),
            f"--metrics-export-port={ports[4]}",
        ]
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, env=env, stdout=said, stderr=said, start_new_session=True
            )
        jobs = f"http://127.0.0.1:{ports[1]}"
        until = time.monotonic() + START_S
        while not _answers(jobs, env["RAY_AUTH_TOKEN"]):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.3)
        yield Head(f"127.0.0.1:{ports[0]}", f"ray://127.0.0.1:{ports[2]}", jobs, env)


def a_token() -> dict[str, str]:
    """What nodes and drivers of a cluster need to know each other."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}


def _answers(jobs: str, token: str) -> bool:
    asked = Request(f"{jobs}/api/version", headers={"Authorization": f"Bearer {token}"})
    try:
        urlopen(asked, timeout=5).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


@contextmanager
def ended_with(name: str) -> Iterator[dict[str, str]]:
    """An environment variable; what bears it does not outlive the block.

    Ray's processes leave their parents, so that they cannot be ended as a family.
    """
    value = uuid.uuid4().hex
    try:
        yield {name: value}
    finally:
        for _ in range(3):
            found = [one for one in psutil.process_iter() if _bears(one, name, value)]
            for one in found:
                try:
                    one.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
            alive_after(10, found)


def _bears(process: psutil.Process, name: str, value: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(name) == value
    except (psutil.Error, OSError):
        return False
