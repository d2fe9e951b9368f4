"""Ten minutes of the query service under load while it is disturbed: `python benchmarks/soak.py`.

`mrag serve` over a Milvus 2.3.5 server with two versions of an index (the second lacks every fifth
document). Its highest QPS is found; then callers arrive at 70% of that, whether or not it keeps
up. Meanwhile the live version is flipped ten times and one encoder replica is killed. Each answer
is compared with what its version answers when asked alone, in this process, by the product's
retriever. A caller does as the product's client does: 429 and 503 are asked again after
Retry-After, four times in all.

Printed: minute by minute answers, latency, failures by cause, wrong answers, memory of the
service's processes; then the targets beside what was measured.

An answer is wrong if it names a version that was not live while it was asked, or if its documents
are not its version's. Where only the order of near-equal votes differs (an embedding in a batch
differs from one alone in the seventh digit) it is counted apart.
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
import psutil
import served
from callers import Asked, Contender
from served import Place, Process, Questions

from mrag_pipeline import wiring
from mrag_pipeline.cli import library_settings
from mrag_pipeline.client.problems import RETRIED, seconds_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.query.retriever import Retriever

K = 10
SHARE = 0.7  # of the highest QPS
FLIPS = 10
ATTEMPTS = 4
MOST_UNDER_WAY = 300
FAILED_AT_MOST = 0.001
GROWTH_AT_MOST = 0.05  # of memory, from the second fifth of the run to the last
SAME_SHARE = 0.8  # of documents in common, where near-equal votes changed places
KILLED = "QueryEncoder"
LAG_S = 1.0  # a request may begin so long after a flip and not see it yet


@dataclass(frozen=True)
class Question:
    """One request, and the documents of its answer by version."""

    body: bytes
    documents: dict[str, frozenset[tuple[str, ...]]]  # in the orders that are right


@dataclass(frozen=True)
class Outcome:
    """One request's end."""

    began: float  # time.monotonic
    ended: float
    asked: Asked
    tries: int
    verdict: str  # right, order, wrong, or why it failed


@dataclass
class Life:
    """A version's time as the live one, on the clock of time.monotonic."""

    version: str
    asked: float  # when the flip was asked for
    done: float = float("inf")  # when it was known to be done


@dataclass
class Soak:
    """What happened."""

    began: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes
    lives: list[Life] = field(default_factory=list)
    killed: str = ""


# ------------------------------------------------------------------ what is right
def expected(
    place: Place, index: VectorIndex, records: Sequence[VersionRecord], asked: Questions
) -> list[Question]:
    """Every question with its answers from each version, asked alone."""
    config = place.config()
    encoder = wiring.encoder(config, threads=1)
    segmenter = wiring.segmenter(config, encoder)
    kinds = [("mrag", query) for query in asked.short] + [("aspect", query) for query in asked.long]
    found: list[dict[str, set[tuple[str, ...]]]] = [{} for _ in kinds]
    for record in records:
        retriever = Retriever(encoder, segmenter, index, record)
        for place_of, (strategy, query) in zip(found, kinds, strict=True):
            answer = retriever.retrieve(query, K, strategy)
            place_of.setdefault(record.version, set()).add(tuple(answer.documents()))
    return [
        Question(
            callers.search_body(query, strategy, K),
            {version: frozenset(orders) for version, orders in by_version.items()},
        )
        for (strategy, query), by_version in zip(kinds, found, strict=True)
    ]


def verdict(question: Question, asked: Asked, allowed: set[str]) -> str:
    """right, order or wrong for an answer; else the cause of its failure."""
    if asked.status == 0:
        return asked.body.decode()
    if not asked.ok:
        try:
            return f"{asked.status} {json.loads(asked.body)['title']}"
        except (ValueError, LookupError, TypeError):
            return f"{asked.status}"
    answer = json.loads(asked.body)
    documents = tuple(hit["document_id"] for hit in answer["hits"])
    if answer["version"] not in allowed:
        return "wrong"
    right = question.documents[answer["version"]]
    if documents in right:
        return "right"
    common = max(len({*documents} & {*one}) for one in right)
    return "order" if common >= SAME_SHARE * K else "wrong"


# ------------------------------------------------------------------ what is done
async def patiently(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[Asked, int]:
    """The last answer, and how often it took to get it."""
    for attempt in range(1, ATTEMPTS + 1):
        began = time.perf_counter()
        try:
            async with session.post(
                url, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                content = await answer.read()
                asked = Asked(time.perf_counter() - began, answer.status, content)
                wait = seconds_in(answer.headers.get("retry-after", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Asked(time.perf_counter() - began, 0, type(error).__name__.encode()), attempt
        if asked.status not in RETRIED or attempt == ATTEMPTS:
            return asked, attempt
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
    """The load, the flips and the kill."""
    run = Soak(time.monotonic(), lives=[Life(versions[0], 0.0, 0.0)])
    url = f"{service.url}/v1/search"
    under_way: set[asyncio.Task[None]] = set()

    def live_since(began: float) -> set[str]:
        """The versions that a request of that moment may be answered from."""
        ends = [*(life.done for life in run.lives[1:]), float("inf")]
        return {
            life.version for life, end in zip(run.lives, ends, strict=True) if end + LAG_S >= began
        }

    async def one(session: aiohttp.ClientSession, at: int) -> None:
        question, began = questions[at % len(questions)], time.monotonic()
        asked, tries = await patiently(session, url, question.body)
        told = verdict(question, asked, live_since(began))
        run.outcomes.append(Outcome(began, time.monotonic(), asked, tries, told))

    async def load() -> None:
        async with callers.new_session() as session:
            for at in range(int(qps * seconds)):
                await asyncio.sleep(max(0.0, run.began + at / qps - time.monotonic()))
                if len(under_way) >= MOST_UNDER_WAY:
                    now = time.monotonic()
                    none = Asked(0.0, 0, b"")
                    run.outcomes.append(Outcome(now, now, none, 0, "not sent: too many wait"))
                    continue
                task = asyncio.create_task(one(session, at))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)

    async def flip() -> None:
        for at in range(1, FLIPS + 1):
            await sleep_until(run.began + seconds * at / (FLIPS + 1))
            # Known before it is done: an answer from it may be here before that.
            life = Life(versions[at % 2], time.monotonic())
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


# ------------------------------------------------------------------ what is told
def show(run: Soak, seconds: float, qps: float) -> None:
    """The table and the targets."""
    parts = 10
    rows = []
    for part in range(parts):
        low, high = seconds * part / parts, seconds * (part + 1) / parts
        within = [one for one in run.outcomes if low <= one.began - run.began < high]
        answered = [one.asked for one in within if one.asked.ok]
        middle, _, highest = callers.quantiles(answered)
        memory = [size for at, size in run.memory if low <= at < high]
        flips = sum(low <= life.asked - run.began < high for life in run.lives[1:])
        rows.append(
            [
                f"{low / 60:.1f} to {high / 60:.1f} min",
                f"{len(within)}",
                f"{len(answered) / (high - low):.1f}",
                f"{middle:.0f}",
                f"{highest:.0f}",
                f"{sum(one.tries > 1 for one in within)}",
                f"{sum(is_failed(one) for one in within)}",
                f"{sum(one.verdict == 'wrong' for one in within)}",
                f"{flips}",
                f"{statistics.median(memory) / 1e6:.0f}" if memory else "",
            ]
        )
    head = ["", "asked", "QPS", "p50 ms", "p99 ms", "asked again", "failed", "wrong", "flips"]
    callers.table([*head, "RSS MB"], rows)
    counts = Counter(one.verdict for one in run.outcomes)
    total = len(run.outcomes)
    failed = sum(is_failed(one) for one in run.outcomes)
    print(f"\n{total:,} asked at {qps:.1f} a second; killed: {run.killed or 'NOTHING WAS FOUND'}")
    print("Outcomes:", ", ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    print(f"Asked again after 429 or 503: {sum(one.tries > 1 for one in run.outcomes):,}")
    print(f"Longest that a flip which was done was not seen: {slowest_switch(run):.2f} s")
    early = [size for at, size in run.memory if 0.2 <= at / seconds < 0.4]
    late = [size for at, size in run.memory if at / seconds >= 0.8]
    growth = statistics.median(late) / statistics.median(early) - 1
    print("\nTargets:")
    told("wrong answers", f"{counts['wrong']}", "0", counts["wrong"] == 0)
    share = failed / max(total, 1)
    told("failed", f"{share:.3%}", f"under {FAILED_AT_MOST:.1%}", share < FAILED_AT_MOST)
    told(
        "memory's growth",
        f"{growth:+.1%}",
        f"at most {GROWTH_AT_MOST:.0%}",
        growth <= GROWTH_AT_MOST,
    )


def is_failed(one: Outcome) -> bool:
    """Whether the caller got no answer at all."""
    return not one.asked.ok


def slowest_switch(run: Soak) -> float:
    """How long after a flip a request that began then was still answered by another version."""
    slowest = 0.0
    ends = [*(life.asked for life in run.lives[2:]), float("inf")]
    for life, end in zip(run.lives[1:], ends, strict=True):
        for one in run.outcomes:
            is_after = one.asked.ok and life.done < one.began and one.ended < end
            if is_after and json.loads(one.asked.body)["version"] != life.version:
                slowest = max(slowest, one.began - life.done)
    return slowest


def told(what: str, found: str, wanted: str, met: bool) -> None:
    print(f"- {what}: {found}; target {wanted}: {'met' if met else 'NOT met'}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--folder", type=Path, default=Path(".mrag/bench"), help="kept between runs"
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--qps", type=float, default=0.0, help="instead of 70% of the highest")
    options = parser.parse_args()
    library_settings.settle()
    folder = options.folder.absolute() / str(options.chunks)
    seconds = 60 * options.minutes
    with served.milvus_server(folder / "milvus") as uri:
        place = Place(
            folder, options.chunks, uri, {"encoder_replicas": 2, "max_encoder_replicas": 2}
        )
        records = list(served.prepare(place, served.EDITIONS).values())
        with closing(wiring.index(place.config())) as index:
            asked = served.questions(place, index, records[0])
            questions = expected(place, index, records, asked)
            with served.service(place, "soak") as service:
                bodies = tuple(one.body for one in questions)
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
