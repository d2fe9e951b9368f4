"""Calls a service over HTTP in a loop and summarises the responses.

Uses aiohttp, which takes less CPU than httpx.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np


@dataclass(frozen=True)
class Response:
    """One response as its caller saw it."""

    seconds: float
    status: int  # 0: no response
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.status == 200


@dataclass(frozen=True)
class Contender:
    """A service under measurement, and the requests to send it."""

    name: str
    url: str
    bodies: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=dict)  # with the API key


async def ask(session: aiohttp.ClientSession, contender: Contender, number: int) -> Response:
    """Sends one request; a failed connection gives status 0."""
    body = contender.bodies[number % len(contender.bodies)]
    began = time.perf_counter()
    try:
        async with session.post(
            contender.url,
            data=body,
            headers={"Content-Type": "application/json", **contender.headers},
        ) as answer:
            content = await answer.read()
            return Response(time.perf_counter() - began, answer.status, content)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Response(time.perf_counter() - began, 0, type(error).__name__.encode())


async def in_turn(
    contenders: Sequence[Contender],
    seconds: float,
    warm_up: int = 5,
    at_least: int = 0,
    longest_s: float = 0.0,
) -> dict[str, list[Response]]:
    """One caller who asks each contender in turn, so that load on the machine affects all alike.

    Args:
        seconds: that it asks, warm-up not counted.
        at_least: it goes on until it has so many responses of each, for `longest_s` at most.
    """
    responses: dict[str, list[Response]] = {contender.name: [] for contender in contenders}
    async with new_session() as session:
        for number in range(warm_up):
            for contender in contenders:
                response = await ask(session, contender, number)
                if not response.ok:
                    raise SystemExit(f"{contender.name}: {response.status} {response.body[:500]!r}")
        began, number = time.monotonic(), 0
        while (spent := time.monotonic() - began) < seconds or (
            number < at_least and spent < longest_s
        ):
            for contender in contenders:
                responses[contender.name].append(await ask(session, contender, number))
            number += 1
    return responses


async def at_once(
    contender: Contender, callers: int, seconds: float, opens_at: float = 0.1
) -> tuple[float, list[Response]]:
    """Concurrent callers who each ask again as soon as they are answered.

    Args:
        opens_at: counting starts after this share of `seconds`, and lasts `seconds`.

    Returns: answers per second, and all responses that were counted.
    """
    counted: list[Response] = []
    async with new_session() as session:
        began = time.monotonic()
        opens = began + opens_at * seconds
        ends = opens + seconds

        async def caller(first: int) -> None:
            number = first
            while time.monotonic() < ends:
                response = await ask(session, contender, number)
                if opens <= time.monotonic() and (time.monotonic() <= ends or not opens_at):
                    counted.append(response)
                number += callers

        await asyncio.gather(*(caller(first) for first in range(callers)))
    return sum(response.ok for response in counted) / seconds, counted


def new_session() -> aiohttp.ClientSession:
    """A session without a limit on connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=90)
    )


def search_body(query: str, strategy: str, k: int = 10) -> bytes:
    """The body of a `POST /v1/search`."""
    return json.dumps({"query": query, "strategy": strategy, "k": k}).encode()


# ------------------------------------------------------------------ figures
def quantiles(responses: Sequence[Response]) -> tuple[float, float, float]:
    """p50, p95 and p99 of the answered requests, in milliseconds."""
    milliseconds = np.quantile(
        [1e3 * response.seconds for response in responses if response.ok] or [np.nan],
        [0.5, 0.95, 0.99],
    )
    return float(milliseconds[0]), float(milliseconds[1]), float(milliseconds[2])


def ratio(
    ours: Sequence[Response], theirs: Sequence[Response], blocks: int = 8
) -> tuple[float, float, float]:
    """Median of the blocks' ratios of medians, with the lowest and the highest.

    The contenders took turns, so a block covers the same time for both.
    """
    size = max(1, min(len(ours), len(theirs)) // blocks)
    ratios = [
        statistics.median(response.seconds for response in ours[start : start + size])
        / statistics.median(response.seconds for response in theirs[start : start + size])
        for start in range(0, min(len(ours), len(theirs)) - size + 1, size)
    ]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table; the first column holds text, the others numbers."""
    print(f"\n| {' | '.join(head)} |")
    print("| --- |" + " ---: |" * (len(head) - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def print_target(name: str, measured: str, wanted: str, met: bool) -> None:
    """Prints a figure beside its target."""
    print(f"- {name}: {measured}; target {wanted}: {'met' if met else 'NOT met'}", flush=True)
