"""Ten minutes of the query service under load and disturbance: `python benchmarks/soak.py`.

Runs `mrag serve` over a Milvus 2.3.5 server with two versions of an index (the second lacks every
fifth document). It first measures the service's highest QPS, then sends requests at 70% of that
rate, whether or not the service keeps up. During the run it switches the live version ten times
and kills one encoder replica. Each answer is compared with the answer that the product's retriever
gives for the same version in this process (see `soak_answers.py`). Callers retry as the product's
client does: after 429 and 503, following Retry-After, with four attempts in all.

Prints answers, latency, failures by cause, wrong answers and the memory of the service's processes
minute by minute, then each target beside the measured figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import aiohttp
import callers
import processes
import psutil
import served
from callers import Contender, Response
from processes import Process
from served import BenchIndex
from soak_answers import Question, expected, verdict

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.client.problems import RETRIED, seconds_in
from mrag_pipeline.ports import VectorIndex

SHARE = 0.7  # of the highest QPS
FLIPS = 10
ATTEMPTS = 4
MOST_UNDER_WAY = 300
FAILED_AT_MOST = 0.001
GROWTH_AT_MOST = 0.05  # of memory, from the second fifth of the run to the last
KILLED = "QueryEncoder"
LAG_S = 1.0  # the longest time after a flip that a request may still be answered by the old version


@dataclass(frozen=True)
class Outcome:
    """How one request ended."""

    began: float  # time.monotonic
    ended: float
    response: Response
    tries: int
    verdict: str  # right, order, wrong, or why it failed


@dataclass
class Life:
    """A version's time as the live one, on the clock of time.monotonic."""

    version: str
    requested: float  # when the flip was requested
    done: float = float("inf")  # when it was known to be done


@dataclass
class Soak:
    """What was recorded during a run."""

    began: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes
    lives: list[Life] = field(default_factory=list)
    killed: str = ""


# ------------------------------------------------------------------ the load
async def patiently(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[Response, int]:
    """The last answer, and the number of attempts it took."""
    for attempt in range(1, ATTEMPTS + 1):
        began = time.perf_counter()
        try:
            async with session.post(
                url, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                content = await answer.read()
                response = Response(time.perf_counter() - began, answer.status, content)
                wait = seconds_in(answer.headers.get("retry-after", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Response(time.perf_counter() - began, 0, type(error).__name__.encode()), attempt
        if response.status not in RETRIED or attempt == ATTEMPTS:
            return response, attempt
        await asyncio.sleep(0.2 * 2**attempt if wait is None else wait)
    raise AssertionError


async def soak(
    service: Process,
    questions: Sequence[Question],
    index: VectorIndex,
    versions: Sequence[str],
    qps: float,
    seconds: float,
) -> Soak:
    """Runs the load, the flips and the kill; returns what was recorded."""
    run = Soak(time.monotonic(), lives=[Life(versions[0], 0.0, 0.0)])
    url = f"{service.url}/v1/search"
    under_way: set[asyncio.Task[None]] = set()

    def live_since(began: float) -> set[str]:
        """The versions that may answer a request begun at that moment."""
        ends = [*(life.done for life in run.lives[1:]), float("inf")]
        return {
            life.version for life, end in zip(run.lives, ends, strict=True) if end + LAG_S >= began
        }

    async def send(session: aiohttp.ClientSession, number: int) -> None:
        question, began = questions[number % len(questions)], time.monotonic()
        response, tries = await patiently(session, url, question.body)
        judged = verdict(question, response, live_since(began))
        run.outcomes.append(Outcome(began, time.monotonic(), response, tries, judged))

    async def load() -> None:
        async with callers.new_session() as session:
            for number in range(int(qps * seconds)):
                await asyncio.sleep(max(0.0, run.began + number / qps - time.monotonic()))
                if len(under_way) >= MOST_UNDER_WAY:
                    now = time.monotonic()
                    no_response = Response(0.0, 0, b"")
                    why = "not sent: too many requests under way"
                    run.outcomes.append(Outcome(now, now, no_response, 0, why))
                    continue
                task = asyncio.create_task(send(session, number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)

    async def flip() -> None:
        for number in range(1, FLIPS + 1):
            await sleep_until(run.began + seconds * number / (FLIPS + 1))
            # Recorded before the flip: the new version may answer before `activate` returns.
            life = Life(versions[number % 2], time.monotonic())
            run.lives.append(life)
            await asyncio.to_thread(index.activate, life.version)
            life.done = time.monotonic()

    async def kill() -> None:
        await sleep_until(run.began + seconds * 0.45)
        for process in service.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                if KILLED in line and "ServeReplica" in line:
                    process.kill()
                    run.killed = line.strip()[:60]
                    return

    async def watch() -> None:
        while True:
            size = await asyncio.to_thread(service.rss_bytes)
            run.memory.append((time.monotonic() - run.began, size))
            await asyncio.sleep(min(5.0, seconds / 40))

    others = [asyncio.create_task(each()) for each in (flip, kill)]
    watching = asyncio.create_task(watch())
    await load()
    await asyncio.gather(*others)
    watching.cancel()
    return run


async def sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


# ------------------------------------------------------------------ the report
def show(run: Soak, seconds: float, qps: float) -> None:
    """The table and the targets."""
    parts = 10
    rows = []
    for part in range(parts):
        low, high = seconds * part / parts, seconds * (part + 1) / parts
        within = [outcome for outcome in run.outcomes if low <= outcome.began - run.began < high]
        answered = [outcome.response for outcome in within if outcome.response.ok]
        middle, _, highest = callers.quantiles(answered)
        memory = [size for at_s, size in run.memory if low <= at_s < high]
        flips = sum(low <= life.requested - run.began < high for life in run.lives[1:])
        rows.append(
            [
                f"{low / 60:.1f} to {high / 60:.1f} min",
                f"{len(within)}",
                f"{len(answered) / (high - low):.1f}",
                f"{middle:.0f}",
                f"{highest:.0f}",
                f"{sum(outcome.tries > 1 for outcome in within)}",
                f"{sum(is_failed(outcome) for outcome in within)}",
                f"{sum(outcome.verdict == 'wrong' for outcome in within)}",
                f"{flips}",
                f"{statistics.median(memory) / 1e6:.0f}" if memory else "",
            ]
        )
    head = ["", "asked", "QPS", "p50 ms", "p99 ms", "asked again", "failed", "wrong", "flips"]
    callers.table([*head, "RSS MB"], rows)
    counts = Counter(outcome.verdict for outcome in run.outcomes)
    total = len(run.outcomes)
    failed = sum(is_failed(outcome) for outcome in run.outcomes)
    print(
        f"\n{total:,} asked at {qps:.1f} a second; killed: {run.killed or 'NO PROCESS WAS FOUND'}"
    )
    print("Outcomes:", ", ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    print(
        f"Response again after 429 or 503: {sum(outcome.tries > 1 for outcome in run.outcomes):,}"
    )
    print(f"Longest time until a finished flip took effect: {slowest_switch(run):.2f} s")
    early = [size for at_s, size in run.memory if 0.2 <= at_s / seconds < 0.4]
    late = [size for at_s, size in run.memory if at_s / seconds >= 0.8]
    growth = statistics.median(late) / statistics.median(early) - 1
    print("\nTargets:")
    callers.print_target("wrong answers", f"{counts['wrong']}", "0", counts["wrong"] == 0)
    share = failed / max(total, 1)
    callers.print_target(
        "failed", f"{share:.3%}", f"under {FAILED_AT_MOST:.1%}", share < FAILED_AT_MOST
    )
    callers.print_target(
        "memory's growth",
        f"{growth:+.1%}",
        f"at most {GROWTH_AT_MOST:.0%}",
        growth <= GROWTH_AT_MOST,
    )


def is_failed(outcome: Outcome) -> bool:
    """Whether the caller got no answer at all."""
    return not outcome.response.ok


def slowest_switch(run: Soak) -> float:
    """The longest time after a flip at which a new request was answered by another version."""
    slowest = 0.0
    ends = [*(life.requested for life in run.lives[2:]), float("inf")]
    for life, end in zip(run.lives[1:], ends, strict=True):
        for outcome in run.outcomes:
            is_after = outcome.response.ok and life.done < outcome.began and outcome.ended < end
            if is_after and json.loads(outcome.response.body)["version"] != life.version:
                slowest = max(slowest, outcome.began - life.done)
    return slowest


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--folder", type=Path, default=Path(".mrag/bench"), help="kept between runs"
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument(
        "--qps", type=float, default=0.0, help="request rate, instead of 70%% of the highest"
    )
    options = parser.parse_args()
    library_settings.settle()
    folder = options.folder.absolute() / str(options.chunks)
    seconds = 60 * options.minutes
    with processes.milvus_server(folder / "milvus") as uri:
        bench = BenchIndex(
            folder, options.chunks, uri, {"encoder_replicas": 2, "max_encoder_replicas": 2}
        )
        records = list(served.prepare(bench, served.EDITIONS).values())
        with closing(wiring.index(bench.config())) as index:
            texts = served.questions(bench, index, records[0])
            questions = expected(bench, index, records, texts)
            with served.service(bench, "soak") as service:
                bodies = tuple(question.body for question in questions)
                contender = Contender("all", f"{service.url}/v1/search", bodies)
                highest, _ = asyncio.run(callers.at_once(contender, 16, min(20.0, seconds / 10)))
                qps = options.qps or SHARE * highest
                print(
                    f"{records[0].num_chunks:,} and {records[1].num_chunks:,} chunks; `mrag` and "
                    f"`aspect` of 8 windows; highest QPS {highest:.1f}, {psutil.cpu_count()} cores",
                    flush=True,
                )
                versions = [record.version for record in records]
                run = asyncio.run(soak(service, questions, index, versions, qps, seconds))
            show(run, seconds, qps)


if __name__ == "__main__":
    main()
