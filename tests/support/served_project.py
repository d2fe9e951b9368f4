"""`mrag serve` as people start it: a process, its answers over HTTP, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from mrag_pipeline.processes import alive_after
from tests.support.callers import Callers
from tests.support.project_folder import TIMEOUT_S, end, family_of, start

QUERY = "Person number 17 paints the river. Nobody loses a market without telling others."


@dataclass(frozen=True, slots=True)
class Service:
    """A service that has said it is ready."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    log: Path

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60)

    def search(self, query: str = QUERY, **body: Any) -> dict[str, Any]:
        answered = self.post("/v1/search", {"query": query, **body})
        assert answered.status_code == 200, answered.text
        found: dict[str, Any] = answered.json()
        return found

    def line_of(self, response: httpx.Response) -> dict[str, Any]:
        """The line of standard output with the id of a response, which may be a moment late."""
        until = time.monotonic() + 30
        while True:
            lines = self.log.with_suffix(".out").read_text("utf-8").splitlines()
            for line in lines:
                if response.headers["x-request-id"] in line:
                    facts: dict[str, Any] = json.loads(line)
                    return facts
            assert time.monotonic() < until, lines[-5:]
            time.sleep(0.05)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of one deployment, by the names that Ray gives them."""
        return self.workers(f"ServeReplica:mrag:{deployment}")

    def workers(self, actor: str) -> list[psutil.Process]:
        """The processes of one kind of Ray's actors."""
        wanted = f"ray::{actor}"
        return [one for one in family_of(self.process) if _name(one).startswith(wanted)]

    def stop(self) -> tuple[int, list[str]]:
        """SIGTERM: its exit code, and the processes that are left of it."""
        family = family_of(self.process)
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(TIMEOUT_S)
        return code, [_name(one) for one in alive_after(2, family)]


@contextmanager
def serving(project: Path, log: Path, *arguments: str, backend: str = "ray") -> Iterator[Service]:
    """`mrag serve --json` on a free port; ended, whatever happens."""
    words = ("serve", "--port", str(free_port()), "--json", "-s", f"serve.backend={backend}")
    process = start(*words, *arguments, cwd=project, log=log)
    out = log.with_suffix(".out")
    try:
        until = time.monotonic() + TIMEOUT_S
        while b"\n" not in out.read_bytes():
            told = log.with_suffix(".err").read_text("utf-8")
            assert process.poll() is None, told + out.read_text("utf-8")
            assert time.monotonic() < until, told
            time.sleep(0.05)
        first, _, _ = out.read_text("utf-8").partition("\n")
        ready = json.loads(first)  # requests follow; of one that did not come up, requests alone
        assert ready["event"] == "ready", log.with_suffix(".err").read_text("utf-8")
        yield Service(process, ready, log)
    finally:
        end(process, family_of(process))


@dataclass
class Load(Callers):
    """Callers that ask without a pause, and what they were told."""

    service: Service
    num_callers: int = field(default=3, kw_only=True)
    versions: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def wait_for(self, answers: int) -> None:
        """Until so many more have been answered."""
        wanted = sum(self.statuses.values()) + answers
        until = time.monotonic() + TIMEOUT_S
        while sum(self.statuses.values()) < wanted:
            assert time.monotonic() < until, self.statuses
            time.sleep(0.02)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + TIMEOUT_S
        while not happened():
            assert time.monotonic() < until, (self.statuses, self.versions)
            time.sleep(0.02)

    def _ask(self, number: int) -> None:
        batch = {"searches": [{"query": f"{QUERY} {i}", "k": 2} for i in range(3)]}
        with httpx.Client(base_url=self.service.url, timeout=120) as client:
            while not self._stop.is_set():
                try:
                    answered = client.post("/v1/search/batch", json=batch)
                except httpx.HTTPError as error:
                    self.statuses[0] += 1
                    self.faults.append(f"{type(error).__name__}: {error}")
                    continue
                self.statuses[answered.status_code] += 1
                if answered.status_code != 200:
                    self.faults.append(answered.text[:500])
                    continue
                told = {one["version"] for one in answered.json()["answers"]}
                if len(told) != 1:
                    self.faults.append(f"mixed: {told}")
                self.versions.update(told)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.NoSuchProcess:
        return "gone"
