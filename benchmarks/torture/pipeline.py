"""Runs one pipeline's two commands in a folder of its own, and watches all their processes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil

TIMEOUT_S = 600.0
_WATCH_S = 0.1
# Threads that wait do not spin: on cores that others use too, spinning costs the most.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code (-9 if killed), and what it and its children used."""

    code: int
    seconds: float
    cpu_s: float  # as far as seen before each process ended
    peak_mb: float


class Pipeline:
    """A pipeline in a folder of its own; its `log` has what its commands say."""

    def __init__(self, command: str, folder: Path, model: Path, milvus: str = "") -> None:
        """Makes the folder.

        Args:
            milvus: address of a server to use; "": the pipeline's own file.
        """
        self.command = shlex.split(command)
        self.folder = folder
        self.model = model
        self._milvus = {"COMPARE_MILVUS": milvus} if milvus else {}
        (folder / "corpus").mkdir(parents=True)

    def give(self, documents: dict[str, bytes]) -> None:
        """Makes these the files of its corpus; what does not change is not written."""
        corpus = self.folder / "corpus"
        for path in corpus.iterdir():
            if path.name not in documents:
                path.unlink()
        for name, content in documents.items():
            path = corpus / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def add(self, documents: dict[str, bytes]) -> None:
        """Writes these files into its corpus, beside the others."""
        for name, content in documents.items():
            (self.folder / "corpus" / name).write_bytes(content)

    def ingest(self, kill_after_cpu_s: float = float("inf"), timeout_s: float = TIMEOUT_S) -> Ended:
        """Brings its index up to date; kills it and its children after so much work of theirs.

        CPU seconds say how far it is, whatever else the machine does.
        """
        with (self.folder / "log").open("a") as log:
            started = time.monotonic()
            process = self.start("ingest", "corpus", log)
            peak_mb, cpu_s = 0.0, dict[int, float]()
            while process.poll() is None and time.monotonic() - started < timeout_s:
                family = _family(process.pid)
                cpu_s |= {member.pid: _cpu_s(member, cpu_s) for member in family}
                if sum(cpu_s.values()) >= kill_after_cpu_s:
                    break
                peak_mb = max(peak_mb, sum(map(_memory_mb, family)))
                time.sleep(_WATCH_S)
            if process.poll() is None:
                kill(process)
            code = process.wait()
            return Ended(code, time.monotonic() - started, sum(cpu_s.values()), peak_mb)

    def search(self, questions: Sequence[str], k: int = 10) -> list[list[str]]:
        """The names found for each question, by one command; [] where it gave none."""
        with Reader(self, k) as reader:
            return [reader.ask(question) or [] for question in questions]

    def start(self, verb: str, argument: str, log: TextIO) -> subprocess.Popen[str]:
        """Starts one of its two commands; what a search prints is for a pipe."""
        return subprocess.Popen(
            [*self.command, verb, argument],
            cwd=self.folder,
            env=os.environ | _ENVIRONMENT | self._milvus | {"COMPARE_MODEL": str(self.model)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if verb == "search" else log,
            stderr=log,
            text=True,
        )


class Reader:
    """A `search` command that stays: it answers each question as it comes."""

    def __init__(self, pipeline: Pipeline, k: int = 10) -> None:
        """Starts it; it is not ready before its first answer."""
        self._log = (pipeline.folder / "log").open("a")
        self._process = pipeline.start("search", str(k), self._log)
        # A reader that never answers must not hold up the comparison.
        self._limit = threading.Timer(TIMEOUT_S, kill, [self._process])
        self._limit.start()
        self._started = time.monotonic()
        self.first_s = self.first_cpu_s = 0.0  # from its start to its first answer

    def ask(self, question: str) -> list[str] | None:
        """The names found, best first; None if it answered with an error or has ended."""
        process = self._process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(question.replace("\n", " ") + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        for line in process.stdout:
            if line.startswith(("[", "null")):
                if not self.first_s:
                    self.first_s = time.monotonic() - self._started
                    self.first_cpu_s = sum(_cpu_s(one, {}) for one in _family(process.pid))
                names: list[str] | None = json.loads(line)
                return names
        return None

    def __enter__(self) -> Reader:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        self._limit.cancel()
        if self._process.poll() is None:
            kill(self._process)
        self._process.wait()
        self._log.close()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9 to the process and to all that it started."""
    for member in reversed(_family(process.pid)):
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_mb(process: psutil.Process) -> float:
    """Memory that it shares with no other process, so that a family's sum counts nothing twice."""
    try:
        return float(process.memory_full_info().uss) / 1e6
    except psutil.Error:
        return 0.0


def _cpu_s(process: psutil.Process, seen: dict[int, float]) -> float:
    """Its CPU seconds; what was seen before if it has ended."""
    try:
        times = process.cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return seen.get(process.pid, 0.0)
