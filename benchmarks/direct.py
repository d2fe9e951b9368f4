"""The Milvus calls of a query, sent directly and by pymilvus: `python benchmarks/direct.py`.

Uses serve.py's index of 20,000 chunks on a Milvus 2.3.5 server (--folder is shared with serve.py).
Measures the searches of a `mrag` and of an `aspect` query, document lookups and row reads. Each
runs 40 times; prints the median and least wall time, and the CPU time of one run in this process
and in the server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import callers
import numpy as np
import processes
import psutil
import served
from served import BenchIndex

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.ports import SearchRequest

RUNS = 40
SHORTLIST = 512


class Times:
    """Collects the rows of one table."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._server = [
            process for process in psutil.Process().children() if "milvus" in process.name()
        ]

    def take(self, name: str, work: Callable[[], object]) -> None:
        """Measures one row."""
        work()
        wall, cpu, server = [], time.process_time(), self._spent()
        for _ in range(RUNS):
            began = time.perf_counter()
            work()
            wall.append(1e3 * (time.perf_counter() - began))
        ours = 1e3 * (time.process_time() - cpu) / RUNS
        theirs = 1e3 * (self._spent() - server) / RUNS
        figures = (statistics.median(wall), min(wall), ours, theirs)
        self.rows.append([name, *(f"{figure:.1f}" for figure in figures)])

    def _spent(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._server)


def measure(index: MilvusIndex, record: VersionRecord, times: Times) -> None:
    """Measures all rows."""
    random = np.random.default_rng(0)
    heads, chunks = record.head_collections(), record.chunks_collection()
    ids = np.concatenate(list(index.ids(chunks)))
    sample = random.choice(ids, 64, False).tolist()
    stored = {
        name: np.stack(list(index.vectors(name, sample).values())) for name in (*heads, chunks)
    }

    def requests(names: tuple[str, ...], num_windows: int, limit: int) -> list[SearchRequest]:
        rows = {name: random.integers(0, len(sample), num_windows) for name in names}
        return [SearchRequest(name, stored[name][rows[name]], limit) for name in names]

    searches = index._searches

    def by_pymilvus(names: tuple[str, ...], num_windows: int, limit: int) -> object:
        return searches._by_pymilvus(requests(names, num_windows, limit), 30)

    def directly(names: tuple[str, ...], num_windows: int, limit: int) -> object:
        return searches.search(requests(names, num_windows, limit))

    for what, names, num_windows, limit in (
        ("`mrag`: 12 searches of 1 row", heads, 1, 64),
        ("`aspect`: 13 searches of 8 rows", (*heads, chunks), 8, 8),
    ):
        index.search(requests(names, num_windows, limit))  # loads the collections
        times.take(
            f"{what}, by pymilvus",
            partial(by_pymilvus, names, num_windows, limit),
        )
        times.take(
            f"{what}, directly",
            partial(directly, names, num_windows, limit),
        )

    def drawn_ids() -> list[int]:
        return [int(chunk_id) for chunk_id in random.choice(ids, SHORTLIST, False)]

    def in_sequence() -> None:
        index.look_up(chunks, drawn_ids(), [])
        index.chunks(chunks, drawn_ids()[:10])

    def concurrently() -> None:
        wanted = drawn_ids()
        index.look_up(chunks, wanted, wanted[:20])

    times.take(f"documents of {SHORTLIST}, then 10 rows", in_sequence)
    times.take(f"documents of {SHORTLIST}, 20 rows meanwhile", concurrently)
    times.take("20 rows, documents remembered", lambda: index.look_up(chunks, [], drawn_ids()[:20]))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(".mrag/bench"), help="kept between runs"
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    options = parser.parse_args()
    library_settings.settle()
    folder = options.folder.absolute() / str(options.chunks)
    folder.mkdir(parents=True, exist_ok=True)
    with processes.milvus_server(folder / "milvus") as uri:
        bench = BenchIndex(folder, options.chunks, uri)
        record = served.prepare(bench)[served.EDITIONS[0]]
        with closing(wiring.index(bench.config())) as index:
            assert isinstance(index, MilvusIndex)
            times = Times()
            measure(index, record, times)
    callers.table(["", "wall ms", "least", "our CPU ms", "Milvus's CPU ms"], times.rows)


if __name__ == "__main__":
    main()
