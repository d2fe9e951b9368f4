"""Which sockets of a family of processes other machines could reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil


def listening(processes: Iterable[psutil.Process]) -> Iterator[tuple[str, str, int]]:
    """Every listening TCP and bound UDP socket: the process's name, address and port."""
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for socket in process.net_connections("inet"):
                waits = socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
                if waits and socket.laddr and not socket.raddr:
                    yield process.name(), socket.laddr.ip, socket.laddr.port


def off_loopback(sockets: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Those that do not listen on loopback alone."""
    return [one for one in sockets if not _is_loopback(one[1])]


def _is_loopback(address: str) -> bool:
    number = ipaddress.ip_address(address)
    mapped = getattr(number, "ipv4_mapped", None)
    return (mapped or number).is_loopback
