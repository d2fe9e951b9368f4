"""Where a round's commands run: with which pool, store and servers, and what is killed there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from killing import victims
from killing.many_items import ITEMS, SMALL
from killing.ray_cluster import PYTHONPATH, RayCluster, ray_cluster
from tests.support.milvus_lite_server import lite_server
from tests.support.milvus_server import milvus_server
from tests.support.prefect_server import PrefectServer
from tests.support.served_project import free_port

_DOWN_S = 3.0  # the longest that a killed server is down before it is started again
_UP_S = 120.0  # its port may be taken for a minute, by connections to the killed one
NOT_RECORDED = {"MRAG_WITHOUT_PREFECT": "1"}  # of watched_command.py


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of stand."""

    name: str
    pool: str
    in_deck: int  # how many of a deck's rounds
    killed: Mapping[str, int]  # by how often, of a round's kills
    has_milvus: bool = False  # a server
    has_lite_server: bool = False
    has_prefect: bool = False
    has_cluster: bool = False  # of Ray, which is there before the commands
    most_kills: int = 3  # of one command
    last: str = ""  # is killed at the end of each command, which then goes on
    num_steps: int = 8  # of an index's life

    @property
    def is_shared(self) -> bool:
        """Whether workers reach the index, too."""
        return self.has_milvus or self.has_lite_server


_ON_RAY = {victims.DRIVER: 1, victims.RAYLET: 2, victims.GCS: 2}
KINDS = (
    Kind("Lite, serial", "serial", 7, {victims.DRIVER: 11, victims.RECORDER: 1}, most_kills=9),
    Kind("Lite, Ray", "ray", 2, _ON_RAY, last=victims.WORKER, num_steps=3),
    Kind("Milvus, serial", "serial", 2, {victims.DRIVER: 1, victims.MILVUS: 2}, has_milvus=True),
    Kind(
        "Milvus, Ray",
        "ray",
        1,
        {**_ON_RAY, victims.MILVUS: 2},
        has_milvus=True,
        last=victims.WORKER,
    ),
    Kind(
        "Milvus, Ray cluster",
        "ray",
        4,
        {victims.DRIVER: 4, victims.MILVUS: 1},
        has_milvus=True,
        has_cluster=True,
    ),
    Kind(
        "Lite server, Ray cluster",
        "ray",
        2,
        {victims.DRIVER: 1},
        has_lite_server=True,
        has_cluster=True,
    ),
    Kind(
        "Lite, Prefect server",
        "serial",
        2,
        {victims.DRIVER: 1, victims.PREFECT: 3},
        has_prefect=True,
        num_steps=6,
    ),
)


class Restartable(Protocol):
    """A server that can be killed, and started again at the same address."""

    def start(self) -> None:
        """Up and answering."""

    def kill(self) -> None:
        """SIGKILL."""


@dataclass
class Stand:
    """One that is up."""

    kind: Kind
    variables: dict[str, str]  # of every command's environment
    milvus_uri: str = ""
    cluster: RayCluster | None = None
    servers: dict[str, Restartable] = field(default_factory=dict)
    _restarting: list[threading.Thread] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def kill_server(self, name: str, chance: random.Random) -> None:
        """Kills it; it is started again in the background, a little later."""
        server, down_s = self.servers[name], _DOWN_S * chance.random()
        server.kill()

        def restart() -> None:
            time.sleep(down_s)
            until = time.monotonic() + _UP_S
            while True:
                try:
                    server.start()
                except BaseException as error:  # for the thread that waits
                    if time.monotonic() > until:
                        self._failed.append(error)
                        return
                    time.sleep(1)
                else:
                    return

        self._restarting.append(threading.Thread(target=restart))
        self._restarting[-1].start()

    def is_restarting(self) -> bool:
        """Whether a server is not back yet."""
        return any(thread.is_alive() for thread in self._restarting)

    def settled(self) -> None:
        """Returns when every server is up.

        Raises: what a server did not start for.
        """
        while self._restarting:
            self._restarting.pop().join()
        if self._failed:
            raise self._failed.pop()


@contextmanager
def stand(kind: Kind, folder: Path, prefect_home: Path) -> Iterator[Stand]:
    """A stand of the kind while the block runs; its servers are new and empty."""
    made = Stand(kind, {"PREFECT_HOME": str(prefect_home)})
    if kind.pool == "ray":
        made.variables |= {"PYTHONPATH": PYTHONPATH, ITEMS: SMALL}
    with ExitStack() as stack:
        if kind.has_milvus:
            (folder / "milvus").mkdir()
            server = stack.enter_context(milvus_server(folder / "milvus", port=free_port()))
            made.milvus_uri, made.servers[victims.MILVUS] = server.uri, server
        if kind.has_lite_server:
            made.milvus_uri = stack.enter_context(lite_server(folder / "lite.db")).uri
        if kind.has_cluster:
            cluster = stack.enter_context(ray_cluster())
            made.cluster, made.servers[victims.NODE] = cluster, cluster
            made.variables |= cluster.token
        if kind.has_prefect:
            prefect = PrefectServer(folder)
            stack.callback(prefect.stop)
            prefect.start()
            made.variables["PREFECT_API_URL"] = prefect.url
            made.servers[victims.PREFECT] = prefect
        stack.callback(made.settled)
        yield made
