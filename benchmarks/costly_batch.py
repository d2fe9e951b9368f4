"""What one caller's costly batch does to the others: `python benchmarks/costly_batch.py`.

Runs `mrag serve` over an index of Milvus Lite and asks it short questions one by one, alone and
while another caller sends batches of 32 questions of 1,400 words, which are within all limits.
Prints the short questions' latency in both, and writes figures/costly_batch.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
from contextlib import closing
from pathlib import Path

import callers
import served
from callers import Contender, Response
from figure import figure
from served import BenchIndex, Questions

from mrag_pipeline import wiring

FIGURES = Path(__file__).parent / "figures" / "costly_batch.json"
NUM_QUERIES, NUM_WORDS = 32, 1_400  # of the costly batch
ROUNDS = 3


def batch(questions: Questions) -> bytes:
    """The costly batch: questions of many subjects, no two alike."""
    words = " ".join((*questions.long, *questions.short)).split()
    texts = [
        " ".join(words[(97 * row + at) % len(words)] for at in range(NUM_WORDS))
        for row in range(NUM_QUERIES)
    ]
    return json.dumps({"searches": [{"query": text} for text in texts]}).encode()


async def measured(
    short: Contender, costly: Contender, seconds: float
) -> tuple[list[Response], list[Response], list[Response]]:
    """The short questions' responses alone, and under the batches; the batches' own."""
    alone = (await callers.in_turn([short], seconds))[short.name]
    attack: list[Response] = []

    async def attacker() -> None:
        async with callers.new_session() as session:
            while True:
                attack.append(await callers.ask(session, costly, 0))

    task = asyncio.create_task(attacker())
    await asyncio.sleep(1)
    try:
        under = (await callers.in_turn([short], seconds, warm_up=0))[short.name]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return alone, under, attack


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half of a round")
    parser.add_argument("--folder", type=Path, help="keeps the index for later runs")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="costly-"))
    bench = BenchIndex(folder, asked.chunks, str(folder / "index.db"), {"timeout_s": 30.0})
    record = served.prepare(bench)[served.EDITIONS[0]]
    with closing(wiring.index(bench.config())) as index:
        questions = served.questions(bench, index, record)
    factors: list[float] = []
    p95: dict[str, list[float]] = {"alone": [], "under batches": []}
    with served.service(bench) as process:
        bodies = tuple(callers.search_body(text, "adaptive") for text in questions.short)
        short = Contender("short questions", f"{process.url}/v1/search", bodies)
        costly = Contender("batches", f"{process.url}/v1/search/batch", (batch(questions),))
        rows = []
        for number in range(1, ROUNDS + 1):
            alone, under, attack = asyncio.run(measured(short, costly, asked.seconds))
            for name, responses in (("alone", alone), ("under batches", under)):
                p50, high, p99 = callers.quantiles(responses)
                p95[name].append(high)
                failed = sum(not response.ok for response in responses)
                rows.append([f"{number} {name}", str(len(responses)), str(failed),
                             f"{p50:.0f}", f"{high:.0f}", f"{p99:.0f}"])  # fmt: skip
            factors.append(p95["under batches"][-1] / p95["alone"][-1])
            ended = [response.status for response in attack]
            print(f"round {number}: batches that ended: {ended or 'none, one was under way'}")
    callers.table(["ms", "answers", "failed", "p50", "p95", "p99"], rows)
    figures = {
        **{f"p95, {name}": figure(values, "ms") for name, values in p95.items()},
        "p95 under batches over alone": figure(factors, "ratio"),
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
