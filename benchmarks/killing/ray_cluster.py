"""A Ray cluster of two nodes on this machine, which commands join; its second node can be lost."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from killing import victims
from tests.support.project_folder import ROOT, environment
from tests.support.ray_head import RAY, a_token, ended_with
from tests.support.ray_machines import HEALTH
from tests.support.served_project import free_port

PYTHONPATH = f"{ROOT}:{ROOT / 'benchmarks'}"  # of workers, which import from `killing`
START_S = 120.0
_STARTS = 3  # on a busy machine a part of Ray starts too slowly; its limit of 30 s is fixed
_ADDRESSES = ("127.0.0.1", "127.0.0.2")  # of the head, which drivers join, and of the other node
_CPUS = 2  # of each node: one worker, and room for its successor


@dataclass
class RayCluster:
    """One that runs; as `Restartable` it is its second node."""

    folder: Path
    env: dict[str, str]  # of its processes
    token: dict[str, str]  # of the environment of those who join it
    port: int
    _nodes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """For `workers.address`."""
        return f"{_ADDRESSES[0]}:{self.port}"

    def start_head(self) -> None:
        """The first node, up."""
        place = ["--include-dashboard=false", f"--temp-dir={self.folder}/ray"]
        self._start(0, ["--head", f"--port={self.port}", *place])

    def start(self) -> None:
        """The second node, up."""
        self._start(1, [f"--address={self.address}"])

    def kill(self) -> None:
        """SIGKILL to all of the second node, as if its power went."""
        node = psutil.Process(self._nodes[1].pid)
        for one in (*node.children(recursive=True), node):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._nodes[1].wait()

    def workers(self) -> list[psutil.Process]:
        """The workers on its nodes, of any command."""
        family: list[psutil.Process] = []
        for node in self._nodes.values():
            with suppress(psutil.NoSuchProcess):
                family += psutil.Process(node.pid).children(recursive=True)
        return victims.found(victims.WORKER, family)

    def _start(self, number: int, where: list[str]) -> None:
        """Raises: RuntimeError if it does not come up."""
        for started in range(_STARTS):
            log = self.folder / f"node{number}-{started}.log"
            ports = [f"--dashboard-agent-listen-port={free_port()}"]
            ports += [f"--metrics-export-port={free_port()}"]
            command = [RAY, "start", "--block", "--disable-usage-stats", f"--num-cpus={_CPUS}"]
            command += ["--object-store-memory=100000000", *where, *ports]
            with log.open("wb") as said:
                node = subprocess.Popen(
                    [*command, f"--node-ip-address={_ADDRESSES[number]}"],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            self._nodes[number] = node
            until = time.monotonic() + START_S
            while node.poll() is None and time.monotonic() < until:
                if "Ray runtime started" in log.read_text("utf-8", "replace"):
                    return
                time.sleep(0.1)
            if node.poll() is None:
                node.kill()
                node.wait()
        said_last = log.read_text("utf-8", "replace")[-1000:]
        raise RuntimeError(f"a node of Ray did not start: {said_last}")


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster while the block runs.

    Raises: RuntimeError if it does not come up.
    """
    # A short path: the names of Ray's sockets are long.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name,
        ended_with("MRAG_KILLS_CLUSTER") as mark,
    ):
        token = a_token()
        env = environment() | HEALTH | token | mark | {"PYTHONPATH": PYTHONPATH}
        env.pop("RAY_ADDRESS", None)
        cluster = RayCluster(Path(name), env, token, free_port())
        cluster.start_head()
        cluster.start()
        yield cluster
