"""The process that works on an index, so that others can name it and see that it has ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, and since when it has held its lock."""

    pid: int
    host: str
    since: str  # ISO 8601, UTC, by its own clock
    birth: str = ""  # of the process: kernel, namespace and start; empty where that is not known

    @classmethod
    def here(cls) -> Owner:
        """The owner that this process is, from now on."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), now, _birth(os.getpid()))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Owner:
        """What `facts` gave.

        Raises: KeyError, TypeError, ValueError if they are not that.
        """
        datetime.fromisoformat(facts["since"])
        return cls(int(facts["pid"]), str(facts["host"]), facts["since"], facts.get("birth", ""))

    def facts(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def told(self, now: datetime | None = None) -> str:
        """One line for people: process, host, since when, how long ago."""
        passed = (now or datetime.now(UTC)) - datetime.fromisoformat(self.since)
        age = max(0, round(passed.total_seconds()))  # its clock may run ahead of ours
        return f"process {self.pid} on {self.host}, since {self.since} ({age} s ago)"

    def is_gone(self) -> bool:
        """Whether the process has certainly ended; False where that cannot be known from here.

        It can be known on Linux, under the same kernel and in the same namespace of processes:
        a container's process 7 is not another's.
        """
        if not self.birth or self.birth.split("/")[:2] != _birth(os.getpid()).split("/")[:2]:
            return False
        return _birth(self.pid) != self.birth


def _birth(pid: int) -> str:
    """`boot id/namespace/start`, the start empty if there is no such process; "" elsewhere."""
    proc = Path("/proc")
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.stat(proc / "self/ns/pid").st_ino
    except OSError:
        return ""
    try:
        # The 22nd field; the 2nd holds the program's name, with any character in brackets.
        start = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        start = ""
    return f"{boot}/{namespace}/{start}"
