"""One command, killed or left alone: when its phases began, how it ended, what it said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from killing.warm_start import Forked, WarmStart
from tests.support.project_folder import ROOT, environment

WATCHED = Path(__file__).with_name("watched_command.py")
TIMEOUT_S = 600.0  # of a whole command
START = "start"  # the phase before the first
_LOOK_S = 0.01
_FAMILY_S = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """A share of a phase's usual duration."""

    phase: str
    share: float


class Command:
    """A command that has been started; the files of its output are named by its number."""

    def __init__(
        self,
        folder: Path,
        number: int,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        starter: WarmStart | None = None,
    ) -> None:
        """Starts it, by the starter if there is one, else by an interpreter of its own."""
        log = folder / "log"
        log.mkdir(exist_ok=True)
        self._phases = log / f"{number}.phases"
        self._out, self._err = log / f"{number}.out", log / f"{number}.err"
        for file in (self._phases, self._out, self._err):
            file.write_text("")  # a command may be killed before it opens them
        self.arguments = arguments
        own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        env = environment() | own | dict(variables)
        self.process: Forked | subprocess.Popen[bytes]
        if starter is not None:
            files = {"phases": self._phases, "out": self._out, "err": self._err, "folder": folder}
            words = {name: str(path) for name, path in files.items()}
            self.process = starter.start(arguments=list(arguments), env=env, **words)
        else:
            with self._out.open("wb") as out, self._err.open("wb") as err:
                self.process = subprocess.Popen(
                    [sys.executable, str(WATCHED), str(self._phases), *arguments],
                    cwd=folder,
                    stdout=out,
                    stderr=err,
                    env=env,
                )
        self.started = time.monotonic()
        self.ended = 0.0
        self.silent_s = 0.0  # the longest that it said nothing while it was waited for
        self._seen: dict[int, psutil.Process] = {}
        self._look_at = 0.0

    def phases(self) -> list[tuple[str, float]]:
        """The phases so far, and when each began."""
        lines = [line.split() for line in self._phases.read_text().splitlines()]
        begun = [(name, float(at)) for at, name in lines]
        return [(START, self.started), *begun]

    def is_running(self) -> bool:
        """Whether it has not ended; what it has started is remembered."""
        if time.monotonic() >= self._look_at:  # all processes of the machine are read for it
            self._look_at = time.monotonic() + _FAMILY_S
            self._seen |= {one.pid: one for one in self._children()}
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """What it has started, as far as was seen."""
        self._seen |= {one.pid: one for one in self._children()}
        return list(self._seen.values())

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def reaches(self, moment: Moment, usual: Mapping[str, float]) -> bool:
        """Returns at the moment; False if the command ends before."""
        while self.is_running():
            begun = dict(self.phases())
            names = list(begun)
            if moment.phase in begun:
                has_passed = names[-1] != moment.phase
                until = begun[moment.phase] + moment.share * usual.get(moment.phase, 0.0)
                if has_passed or time.monotonic() >= until:
                    return True
            time.sleep(_LOOK_S)
        return False

    def wait(self, seconds: float, paused: Callable[[], bool] = lambda: False) -> int | None:
        """Its exit code; None if it has not ended in time, and was killed for it.

        Args:
            paused: the time begins when this is no longer so.
        """
        began = heard = time.monotonic()
        size = self._size()
        while self.is_running():
            now = time.monotonic()
            if paused():
                began = heard = now
            elif now > began + seconds:
                self.kill_all()
                return None
            if self._size() != size:
                size, heard = self._size(), now
            self.silent_s = max(self.silent_s, now - heard)
            time.sleep(0.05)
        self.ended = time.monotonic()
        return self.process.returncode

    def _size(self) -> int:
        """Of all that it has written: it grows with each phase and each line."""
        return sum(file.stat().st_size for file in (self._phases, self._out, self._err))

    def kill_all(self) -> None:
        """SIGKILL to it and to all that it has started."""
        for one in self.family():
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.kill()
        self.process.wait()
        self.ended = time.monotonic()

    def seconds(self) -> dict[str, float]:
        """How long each phase took; the last one until the command ended."""
        begun = self.phases()
        ends = [*(at for _, at in begun[1:]), self.ended]
        taken: dict[str, float] = {}
        for (name, at), end in zip(begun, ends, strict=True):
            taken[name] = taken.get(name, 0.0) + end - at
        return taken

    def said(self) -> str:
        """What it wrote to standard error."""
        return self._err.read_text("utf-8", "replace")

    def printed(self) -> str:
        """What it wrote to standard output."""
        return self._out.read_text("utf-8", "replace")
