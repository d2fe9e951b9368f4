"""Rounds of a service: its parts are killed under readers; answers are right, or an excuse."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from killing import victims
from killing.command import TIMEOUT_S, Command
from killing.deck import in_turn
from killing.journal import Kill, Round
from killing.project import write_config, write_edition, write_project
from killing.readers import QUESTIONS, Answers, Readers, asked
from killing.stands import NOT_RECORDED, Kind, Stand
from killing.verdict import HANG_S, LEFT_S, LOST_PART, told
from mrag_pipeline.processes import alive_after
from tests.support.project_folder import ROOT, end, environment, family_of
from tests.support.served_project import free_port

COMMAND = "serve"
_PORTS = (15_000, 30_000)  # below those that the system gives by chance
_REPLICAS = dict.fromkeys(
    (victims.HAPROXY, victims.MANAGER, victims.API, victims.ENCODER, victims.SEARCH), 1
)
_ENDING = (victims.RAYLET, victims.GCS, victims.SERVICE)  # the service ends with them
KINDS = (
    Kind("service in one process", "serial", 1, {victims.ONE_PROCESS: 1}, most_kills=6),
    Kind("service on Ray", "serial", 4, _REPLICAS, most_kills=8),
    Kind(
        "service, Milvus",
        "serial",
        2,
        {victims.MILVUS: 2, victims.ONE_PROCESS: 1},
        has_milvus=True,
        most_kills=5,
    ),
)


@dataclass(frozen=True, slots=True)
class Served:
    """A project that is served, and its answers."""

    project: Path
    expected: Answers


@dataclass
class Service:
    """A service that was started."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def until_ready(self, seconds: float) -> bool:
        """Returns when it is; False if that takes longer, or it ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if self.is_ready():
                return True
            time.sleep(0.05)
        return False

    def said(self) -> str:
        """What it wrote to standard error."""
        return self.log.with_suffix(".err").read_text("utf-8", "replace")

    def odd_lines(self) -> list[str]:
        """What it printed that is no JSON, the last line of a killed one aside."""
        lines = self.log.with_suffix(".out").read_text("utf-8", "replace").split("\n")
        return [line[:500] for line in lines[:-1] if not line.startswith("{")]


@contextmanager
def started(project: Path, log: Path, backend: str, port: int) -> Iterator[Service]:
    """`mrag serve`, which may not be ready yet; killed at the end if it still runs."""
    patient = ("-s", "serve.timeout_s=40", "-s", "serve.head_timeout_s=30", "-s", "serve.drain_s=0")
    words = ("serve", "--port", str(port), "--json", "-s", f"serve.backend={backend}", *patient)
    with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "mrag_pipeline", *words],
            cwd=project,
            stdout=out,
            stderr=err,
            env=environment() | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        )
    try:
        yield Service(process, f"http://127.0.0.1:{port}", log)
    finally:
        end(process, family_of(process))


def expected(project: Path) -> Answers:
    """What an undisturbed service answers.

    Raises: SystemExit if it does not come up.
    """
    (project / "log").mkdir(exist_ok=True)
    with started(project, project / "log" / "expected", "process", free_port()) as service:
        if not service.until_ready(TIMEOUT_S):
            raise SystemExit(f"the undisturbed service did not come up: {service.said()}")
        with httpx.Client(timeout=60, trust_env=False) as client:
            return {question: asked(service.url, question, client)[1] for question in QUESTIONS}


class ServedLife:
    """A round in the making."""

    def __init__(self, stand: Stand, served: Served, folder: Path, chance: random.Random) -> None:
        self._stand, self._served, self._chance, self._folder = stand, served, chance, folder
        self._victims = in_turn(stand.kind.killed, chance)
        self.kills: list[Kill] = []
        self.faults: list[str] = []
        self._answers = 0
        self._number = 0
        self._expected: Answers = {}
        self._ready_s = 3.0
        self._port = _own_port(chance)

    def run(self) -> None:
        """Kills under readers, and an audit at the end."""
        self._prepare()
        if victims.HAPROXY in self._stand.kind.killed:
            self._on_ray()
        else:
            self._in_one_process()
        audit = Command(self._folder, 99, ("audit", "--json"), self._variables())
        if audit.wait(TIMEOUT_S) != 0:
            self.faults.append(f"audit after the service: {audit.said()[-1000:]}")

    def result(self, number: int, seconds: float) -> Round:
        """What it came to."""
        return Round(number, seconds, self.kills, self.faults, answers=self._answers)

    # -------------------------------------------------------------- rounds
    def _prepare(self) -> None:
        if not self._stand.milvus_uri:
            shutil.copytree(self._served.project, self._folder)
            self._expected = self._served.expected
            return
        model = self._served.project.parent / "model"
        write_project(self._folder, model, "serial", self._stand.milvus_uri)
        write_edition(self._folder, 2)
        write_config(self._folder, model, "serial", self._stand.milvus_uri, max_tokens=32)
        ingest = Command(self._folder, 1, ("ingest",), self._variables())
        if ingest.wait(TIMEOUT_S) != 0:
            self.faults.append(f"ingest before the service: {ingest.said()[-1000:]}")
        (self._folder / "log").mkdir(exist_ok=True)
        self._expected = expected(self._folder)  # an old server has no search for words

    def _in_one_process(self) -> None:
        left = self._stand.kind.most_kills
        names = self._stand.kind.killed
        while left > 0 and not self.faults:
            with self._service("process") as service:
                # Every second kill is of a service that is not ready yet.
                if victims.MILVUS not in names and self._chance.random() < 0.5:
                    time.sleep(self._chance.random() * self._ready_s)
                    self._end(service, "starting", victims.ONE_PROCESS)
                    left -= 1
                    continue
                if not self._is_ready(service):
                    return
                with Readers(service.url, self._expected) as readers:
                    while left > 0 and not self.faults:
                        left -= 1
                        time.sleep(self._chance.random())
                        name = next(self._victims)
                        if name == victims.ONE_PROCESS:
                            self._end(service, "answering", name)
                            break
                        self._stand.kill_server(name, self._chance)
                        self._answers_again(readers, name)
                        self._stand.settled()
                self._take(readers)

    def _on_ray(self) -> None:
        with self._service("ray") as service:
            if not self._is_ready(service):
                return
            with Readers(service.url, self._expected) as readers:
                for _ in range(self._stand.kind.most_kills):
                    name = next(self._victims)
                    time.sleep(self._chance.random() * 2)
                    if self._has_killed(service, name):
                        self._answers_again(readers, name)
                    if self.faults:
                        break
                else:
                    self._end(service, "answering", self._chance.choice(_ENDING))
            self._take(readers)

    # -------------------------------------------------------------- parts of a round
    def _variables(self) -> dict[str, str]:
        return {**self._stand.variables, **NOT_RECORDED}

    @contextmanager
    def _service(self, backend: str) -> Iterator[Service]:
        self._number += 1
        log = self._folder / "log" / f"serve-{self._number}"
        with started(self._folder, log, backend, self._port) as service:
            yield service
        if "Traceback" in service.said():
            self.faults.append(f"the service's traceback: {service.said()[-3000:]}")
        self.faults += [f"printed, and no JSON: {line}" for line in service.odd_lines()[:3]]

    def _is_ready(self, service: Service) -> bool:
        began = time.monotonic()
        if service.until_ready(TIMEOUT_S):
            self._ready_s = time.monotonic() - began
            return True
        if not self.kills:  # a port was taken, or the machine is too busy for Ray
            raise RuntimeError(f"the service did not come up: {service.said()[-500:]}")
        self.faults.append(
            f"the service is not ready after {TIMEOUT_S:g} s: {service.said()[-1500:]}"
        )
        return False

    def _answers_again(self, readers: Readers, name: str) -> None:
        seconds = readers.until_answered(HANG_S)
        if seconds is None:
            self.faults.append(f"no answer {HANG_S:g} s after {name} was killed")
        self._kept(name, "answering", "lives on", HANG_S if seconds is None else seconds)

    def _end(self, service: Service, phase: str, name: str) -> None:
        """Kills what the service ends with; it has to end, and to leave nothing."""
        family = family_of(service.process)
        if name in (victims.ONE_PROCESS, victims.SERVICE):
            service.process.kill()
        elif not self._has_killed(service, name):
            return
        began = time.monotonic()
        try:
            code = service.process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self.faults.append(f"the service lives {HANG_S:g} s after {name} was killed")
            return
        self._kept(name, phase, told(code), time.monotonic() - began)
        if code not in (-signal.SIGKILL, LOST_PART):
            self.faults.append(f"{name} killed: the service ended by {code}: {service.said()}")
        alive = alive_after(LEFT_S, family)
        self.faults += [f"still running after {name} was killed: {one}" for one in alive]

    def _has_killed(self, service: Service, name: str) -> bool:
        """Kills one as soon as there is one: one that was killed before has to have a successor."""
        until = time.monotonic() + HANG_S
        while not victims.kill_one(name, family_of(service.process), self._chance):
            if time.monotonic() > until:
                self.faults.append(f"no {name} for {HANG_S:g} s")
                return False
            time.sleep(0.1)
        return True

    def _take(self, readers: Readers) -> None:
        self._answers += readers.statuses[200]
        self.faults += readers.faults[:5]

    def _kept(self, name: str, phase: str, ended: str, seconds: float) -> None:
        kind = self._stand.kind.name
        self.kills.append(Kill(kind, COMMAND, phase, name, ended, round(seconds, 2)))


def _own_port(chance: random.Random) -> int:
    """A free port that nobody is given by chance: while HAProxy is away, it would be taken."""
    while True:
        port = chance.randrange(*_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
