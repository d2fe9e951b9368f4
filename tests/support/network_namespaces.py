"""Machines of their own, as far as the network goes: Linux network namespaces on one host.

    mrag-PID-switch   a bridge, 10.231.0.254
    mrag-PID-0        10.231.0.1, its link's other end on the bridge
    mrag-PID-1        10.231.0.2 ...

All of it is in namespaces that are made here: the host's own network is not touched. Their
processes share the host's file system, as nodes share a network's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

_SWITCH = "switch"


class Machines:
    """Namespaces with an address each; see `machines`."""

    def __init__(self, count: int) -> None:
        self._prefix = f"mrag-{os.getpid()}"
        self._switch = f"{self._prefix}-{_SWITCH}"
        self.names = [f"{self._prefix}-{i}" for i in range(count)]

    def set_up(self) -> None:
        for name in (self._switch, *self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "addr", "add", "10.231.0.254/24", "dev", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for i, name in enumerate(self.names):
            port = f"port{i}"
            peer = ("peer", "name", port, "netns", self._switch)
            _ip("link", "add", "eth0", "netns", name, "type", "veth", *peer)
            _ip("-n", self._switch, "link", "set", port, "master", "bridge")
            _ip("-n", self._switch, "link", "set", port, "up")
            _ip("-n", name, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            # Ray asks the routing table which address is its own.
            _ip("-n", name, "route", "add", "default", "via", "10.231.0.254")

    def address(self, machine: int) -> str:
        return f"10.231.0.{machine + 1}"

    def start(
        self, machine: int, command: list[str], env: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """The command, running on that machine; what it says goes to the log."""
        with log.open("wb") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[machine], *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )

    def kill(self, machine: int) -> None:
        """As when the power goes: everything on it, at once."""
        assert _ended(self.names[machine])

    def cut_off(self, machine: int) -> None:
        """Its cable is pulled; what runs on it goes on running."""
        _ip("-n", self._switch, "link", "set", f"port{machine}", "down")

    def tear_down(self) -> None:
        """Everything that runs there, and the namespaces; as far as they were made."""
        for name in (*self.names, self._switch):
            if not Path("/run/netns", name).exists():
                continue
            _ended(name)
            subprocess.run(["ip", "netns", "delete", name], check=False)


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """So many machines that reach each other and nothing else; gone afterwards.

    Skips the test where this user, or this kernel, may not make them.
    """
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip: apt-get install iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    made = Machines(count)
    try:
        try:
            made.set_up()
        except subprocess.CalledProcessError as error:
            pytest.skip(
                f"no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}"
            )
        yield made
    finally:
        made.tear_down()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _ended(name: str) -> bool:
    """Whether nothing runs in the namespace any more, all there was having been killed."""
    until = time.monotonic() + 20
    while running := _running(name):
        for one in running:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _running(name: str) -> list[psutil.Process]:
    found = subprocess.run(
        ["ip", "netns", "pids", name], check=False, capture_output=True, text=True
    )
    running = []
    for pid in found.stdout.split():
        try:
            one = psutil.Process(int(pid))
            if one.status() != psutil.STATUS_ZOMBIE:
                running.append(one)
        except psutil.NoSuchProcess:
            continue
    return running
