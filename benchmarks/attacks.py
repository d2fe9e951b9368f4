"""What an attack on one key does to another key's questions: `python benchmarks/attacks.py`.

Runs `mrag serve` with two keys over an index of Milvus Lite. A caller with one key asks short
questions one by one, alone and under each attack, which runs in a process of its own. Prints the
caller's latency and what the attacker got, and writes figures/attacks.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import callers
import costly_batch
import served
from callers import Contender, Response
from figure import figure
from served import BenchIndex, Questions

from mrag_pipeline import wiring
from mrag_pipeline.serving.security.keys import new_key

FIGURES = Path(__file__).parent / "figures" / "attacks.json"
NUM_CALLERS = 300
ROUNDS = 3
NUM_ANSWERS = 60  # of a round's, under the attack: with a few, p95 would be the slowest one
LONGEST_S = 60.0  # that they are waited for
JSON = {"Content-Type": "application/json"}


# ------------------------------------------------------------------ the attacks
async def many_callers(url: str, key: str, questions: Questions, seen: Counter[str]) -> None:
    """Callers of one key who ask again as soon as they are answered or refused."""
    await _callers(f"{url}/v1/search", key, questions, seen)


async def unknown_keys(url: str, key: str, questions: Questions, seen: Counter[str]) -> None:
    """The same with a key that nobody has."""
    await _callers(f"{url}/v1/search", f"{key}x", questions, seen)


async def _callers(url: str, key: str, questions: Questions, seen: Counter[str]) -> None:
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    bodies = [callers.search_body(text, "adaptive") for text in questions.short]

    async def caller(number: int) -> None:
        while True:
            try:
                body = bodies[number % len(bodies)]
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()
                    seen[str(answer.status)] += 1
            except aiohttp.ClientError as error:
                seen[type(error).__name__] += 1
                await asyncio.sleep(0.1)
            number += 1

    async with callers.new_session() as session:
        await asyncio.gather(*(caller(number) for number in range(NUM_CALLERS)))


async def costly_batches(url: str, key: str, questions: Questions, seen: Counter[str]) -> None:
    """As many batches at once as a key may have, each of 32 questions of 1,400 words."""
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    body = costly_batch.batch(questions)

    async def caller() -> None:
        while True:
            seen["sent"] += 1  # one may not be answered before the attack ends
            async with session.post(f"{url}/v1/search/batch", data=body, headers=headers) as answer:
                await answer.read()
                seen[str(answer.status)] += 1

    async with callers.new_session() as session:
        await asyncio.gather(*(caller() for _ in range(16)))


async def slow_headers(url: str, _key: str, _questions: Questions, seen: Counter[str]) -> None:
    """Connections that send a byte of their headers each second."""
    await _slow(url, b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nX-A: ", seen)


async def slow_bodies(url: str, key: str, _questions: Questions, seen: Counter[str]) -> None:
    """Connections that send a byte of a body each second."""
    head = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\n"
    await _slow(url, head.encode(), seen)


async def _slow(url: str, first: bytes, seen: Counter[str]) -> None:
    port = int(url.rpartition(":")[2])

    async def connection() -> None:
        while True:
            seen["opened"] += 1
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(first)
                reading = asyncio.create_task(reader.read())
                while not reading.done():
                    writer.write(b"x")
                    await asyncio.wait([reading], timeout=1)
                writer.close()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(connection() for _ in range(NUM_CALLERS)))


Attack = Callable[[str, str, Questions, "Counter[str]"], Awaitable[None]]
ATTACKS: dict[str, Attack] = {
    f"{NUM_CALLERS} callers of one key": many_callers,
    f"{NUM_CALLERS} callers with an unknown key": unknown_keys,
    "16 costly batches at once": costly_batches,
    f"{NUM_CALLERS} connections with slow headers": slow_headers,
    f"{NUM_CALLERS} connections with slow bodies": slow_bodies,
}


def attack(name: str, url: str, key: str, folder: Path) -> None:
    """Attacks until SIGTERM, then prints what it got."""
    stored = json.loads((folder / "questions.json").read_text())
    questions = Questions(tuple(stored["short"]), tuple(stored["long"]))
    seen: Counter[str] = Counter()

    async def until_told() -> None:
        task = asyncio.ensure_future(ATTACKS[name](url, key, questions, seen))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_told())
    print(json.dumps(seen))


@contextmanager
def attacked(name: str, url: str, key: str, folder: Path) -> Iterator[Counter[str]]:
    """The attack is under way within the block; afterwards the counter has what it got."""
    command = [sys.executable, __file__, "--attack", name, url, key, str(folder)]
    seen: Counter[str] = Counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        time.sleep(4)  # until it has imported and all have connected
        yield seen
    finally:
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
        seen.update(json.loads(told))


# ------------------------------------------------------------------ the measurement
@dataclass(frozen=True)
class Round:
    """An attack, and the same caller just before and after it: other programs are in all three."""

    attack: str
    before: tuple[Response, ...]
    under: tuple[Response, ...]
    after: tuple[Response, ...]
    seen: Counter[str]  # what the attacker got

    def p95_alone(self) -> float:
        """Milliseconds, of the responses before and after."""
        return callers.quantiles((*self.before, *self.after))[1]

    def p95(self) -> float:
        """Milliseconds, under the attack."""
        return callers.quantiles(self.under)[1]

    def factor(self) -> float:
        """How many times as long the caller waits under the attack, at p95."""
        return self.p95() / self.p95_alone()

    def num_failed(self) -> int:
        """Responses under the attack that are no answer."""
        return sum(not response.ok for response in self.under)


def asked(short: Contender, seconds: float, at_least: int = 0) -> tuple[Response, ...]:
    """The well-behaved caller's responses; it goes on until it has enough, LONGEST_S at most."""
    asking = callers.in_turn([short], seconds, 0, at_least, LONGEST_S)
    return tuple(asyncio.run(asking)[short.name])


def measured(
    folder: Path, num_chunks: int, seconds: float, num_rounds: int, attacks: Sequence[str]
) -> Iterator[Round]:
    """The rounds of all attacks, one after the other; a service and an index are made for them.

    Args:
        seconds: of each of a round's measurements (alone, attacked, alone), at least: each goes on
            until there are NUM_ANSWERS under the attack, and as many before and after it.
    """
    # The well-behaved caller asks without a pause; a lower limit would refuse attackers earlier.
    limits = {"timeout_s": 30.0, "requests_per_minute": 100_000, "max_ongoing": 64}
    bench = BenchIndex(folder, num_chunks, str(folder / "index.db"), {**limits, "max_queued": 128})
    record = served.prepare(bench)[served.EDITIONS[0]]
    with closing(wiring.index(bench.config())) as index:
        questions = served.questions(bench, index, record)
    (good, its_entry), (bad, other_entry) = new_key("good"), new_key("bad")
    entries = [{"name": key.name, "sha256": key.sha256} for key in (its_entry, other_entry)]
    with _variable("MRAG_API_KEYS", json.dumps(entries)), served.service(bench) as process:
        bodies = tuple(callers.search_body(text, "adaptive") for text in questions.short)
        headers = {"Authorization": f"Bearer {good}"}
        short = Contender("short questions", f"{process.url}/v1/search", bodies, headers)
        asked(short, 5)
        for _ in range(num_rounds):
            for name in attacks:
                before = asked(short, seconds, NUM_ANSWERS // 2)
                with attacked(name, process.url, bad, folder) as seen:
                    under = asked(short, seconds, NUM_ANSWERS)
                after = asked(short, seconds, NUM_ANSWERS // 2)
                yield Round(name, before, under, after, seen)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """The environment variable has this value within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def factors(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """Each attack's factors, a round each."""
    found: dict[str, list[float]] = {}
    for one in rounds:
        found.setdefault(one.attack, []).append(one.factor())
    return found


def row(one: Round) -> list[str]:
    """A round as a row of the table."""
    values = (*callers.quantiles(one.under), one.p95_alone())
    figures_ms = (f"{value:.0f}" for value in values)
    words = f"{one.attack}: {dict(one.seen)}"
    return [words, str(len(one.under)), str(one.num_failed()), *figures_ms]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, help="keeps the index for later runs")
    parser.add_argument("--only", default="", help="attacks whose names contain this; writes none")
    parser.add_argument("--attack", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.attack:
        name, url, key, place = chosen.attack
        attack(name, url, key, Path(place))
        return
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="attacks-"))
    names = [name for name in ATTACKS if chosen.only in name]
    rounds: list[Round] = []
    for one in measured(folder, chosen.chunks, chosen.seconds, ROUNDS, names):
        rounds.append(one)
        print(row(one), flush=True)
    heads = ["ms", "answers", "failed", "p50", "p95", "p99", "p95 alone"]
    callers.table(heads, [row(one) for one in rounds])
    figures = {}
    for name, values in factors(rounds).items():
        its = [one for one in rounds if one.attack == name]
        figures[f"p95, alone around {name}"] = figure([one.p95_alone() for one in its], "ms")
        figures[f"p95, {name}"] = figure([one.p95() for one in its], "ms")
        figures[f"over alone, {name}"] = figure(values, "ratio")
        median = statistics.median(values)
        callers.print_target(name, f"{median:.2f}", "at most 3", median <= 3)
    if not chosen.only:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
