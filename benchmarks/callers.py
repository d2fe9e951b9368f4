"""Callers of a service over HTTP, in a loop, and what their answers say together.

They speak through aiohttp, which takes less of the machine than httpx does.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import numpy as np


@dataclass(frozen=True)
class Asked:
    """One request as its caller saw it."""

    seconds: float
    status: int  # 0: no answer
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.status == 200


@dataclass(frozen=True)
class Contender:
    """Who is asked what."""

    name: str
    url: str
    bodies: tuple[bytes, ...]


async def ask(session: aiohttp.ClientSession, one: Contender, at: int) -> Asked:
    """One request."""
    body = one.bodies[at % len(one.bodies)]
    began = time.perf_counter()
    try:
        async with session.post(
            one.url, data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            content = await answer.read()
            return Asked(time.perf_counter() - began, answer.status, content)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Asked(time.perf_counter() - began, 0, type(error).__name__.encode())


async def in_turn(
    contenders: Sequence[Contender], seconds: float, warm_up: int = 5
) -> dict[str, list[Asked]]:
    """One caller who asks each contender in turn: the same machine, the same moments."""
    asked: dict[str, list[Asked]] = {one.name: [] for one in contenders}
    async with new_session() as session:
        for at in range(warm_up):
            for one in contenders:
                found = await ask(session, one, at)
                if not found.ok:
                    raise SystemExit(f"{one.name}: {found.status} {found.body[:500]!r}")
        ends, at = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            for one in contenders:
                asked[one.name].append(await ask(session, one, at))
            at += 1
    return asked


async def at_once(
    one: Contender, callers: int, seconds: float, opens_at: float = 0.1
) -> tuple[float, list[Asked]]:
    """Callers who each ask again as soon as they are answered: answers a second, and all answers.

    Args:
        opens_at: answers count from this share of the time on, for as long as `seconds`.
    """
    counted: list[Asked] = []
    async with new_session() as session:
        began = time.monotonic()
        opens = began + opens_at * seconds
        ends = opens + seconds

        async def caller(first: int) -> None:
            at = first
            while time.monotonic() < ends:
                found = await ask(session, one, at)
                if opens <= time.monotonic() and (time.monotonic() <= ends or not opens_at):
                    counted.append(found)
                at += callers

        await asyncio.gather(*(caller(first) for first in range(callers)))
    return sum(found.ok for found in counted) / seconds, counted


def new_session() -> aiohttp.ClientSession:
    """As many connections as callers."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=90)
    )


def search_body(query: str, strategy: str, k: int = 10) -> bytes:
    """Of `POST /v1/search`."""
    return json.dumps({"query": query, "strategy": strategy, "k": k}).encode()


# ------------------------------------------------------------------ figures
def quantiles(asked: Sequence[Asked]) -> tuple[float, float, float]:
    """p50, p95 and p99 of what was answered, in milliseconds."""
    found = np.quantile(
        [1e3 * one.seconds for one in asked if one.ok] or [np.nan], [0.5, 0.95, 0.99]
    )
    return float(found[0]), float(found[1]), float(found[2])


def ratio(
    ours: Sequence[Asked], theirs: Sequence[Asked], blocks: int = 8
) -> tuple[float, float, float]:
    """Median of the blocks' ratios of medians, with the lowest and the highest.

    A block is the same moments for both: they took turns.
    """
    size = max(1, min(len(ours), len(theirs)) // blocks)
    ratios = [
        statistics.median(one.seconds for one in ours[at : at + size])
        / statistics.median(one.seconds for one in theirs[at : at + size])
        for at in range(0, min(len(ours), len(theirs)) - size + 1, size)
    ]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table; the first column is words."""
    print(f"\n| {' | '.join(head)} |")
    print("| --- |" + " ---: |" * (len(head) - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def told(what: str, found: str, wanted: str, met: bool) -> None:
    """One line: a figure beside its target."""
    print(f"- {what}: {found}; target {wanted}: {'met' if met else 'NOT met'}", flush=True)
