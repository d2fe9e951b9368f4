"""What a query asks of Milvus, directly and by pymilvus: `python benchmarks/direct.py`.

On serve.py's index of 20,000 chunks and a Milvus 2.3.5 server (--folder is shared with serve.py):
the searches of a `mrag` and of an `aspect` query, documents looked up, rows read. Each is run 40
times; wall time in the middle and at its least, and CPU time of one run, ours and the server's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import callers
import numpy as np
import psutil
import served
from served import Place

from mrag_pipeline import wiring
from mrag_pipeline.cli import library_settings
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.ports import SearchRequest

RUNS = 40
SHORTLIST = 512


class Times:
    """Rows of one table."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._server = [one for one in psutil.Process().children() if "milvus" in one.name()]

    def take(self, name: str, work: Callable[[], object]) -> None:
        """One row."""
        work()
        wall, cpu, server = [], time.process_time(), self._spent()
        for _ in range(RUNS):
            began = time.perf_counter()
            work()
            wall.append(1e3 * (time.perf_counter() - began))
        ours = 1e3 * (time.process_time() - cpu) / RUNS
        theirs = 1e3 * (self._spent() - server) / RUNS
        figures = (statistics.median(wall), min(wall), ours, theirs)
        self.rows.append([name, *(f"{one:.1f}" for one in figures)])

    def _spent(self) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in self._server)


def measure(index: MilvusIndex, record: VersionRecord, times: Times) -> None:
    """All rows."""
    random = np.random.default_rng(0)
    heads, chunks = record.head_collections(), record.chunks_collection()
    ids = np.concatenate(list(index.ids(chunks)))
    some = random.choice(ids, 64, False).tolist()
    stored = {name: np.stack(list(index.vectors(name, some).values())) for name in (*heads, chunks)}

    def requests(names: tuple[str, ...], num_windows: int, limit: int) -> list[SearchRequest]:
        rows = {name: random.integers(0, len(some), num_windows) for name in names}
        return [SearchRequest(name, stored[name][rows[name]], limit) for name in names]

    searches = index._searches
    for what, names, num_windows, limit in (
        ("`mrag`: 12 searches of 1 row", heads, 1, 64),
        ("`aspect`: 13 searches of 8 rows", (*heads, chunks), 8, 8),
    ):
        index.search(requests(names, num_windows, limit))  # loaded, known
        times.take(
            f"{what}, by pymilvus",
            lambda n=names, w=num_windows, c=limit: searches._by_pymilvus(requests(n, w, c), 30),
        )
        times.take(
            f"{what}, directly",
            lambda n=names, w=num_windows, c=limit: searches.search(requests(n, w, c)),
        )

    def listed() -> list[int]:
        return [int(one) for one in random.choice(ids, SHORTLIST, False)]

    def one_after_the_other() -> None:
        index.look_up(chunks, listed(), [])
        index.chunks(chunks, listed()[:10])

    def together() -> None:
        wanted = listed()
        index.look_up(chunks, wanted, wanted[:20])

    times.take(f"documents of {SHORTLIST}, then 10 rows", one_after_the_other)
    times.take(f"documents of {SHORTLIST}, 20 rows meanwhile", together)
    times.take("20 rows, documents remembered", lambda: index.look_up(chunks, [], listed()[:20]))


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
    with served.milvus_server(folder / "milvus") as uri:
        place = Place(folder, options.chunks, uri)
        record = served.prepare(place)[served.EDITIONS[0]]
        with closing(wiring.index(place.config())) as index:
            assert isinstance(index, MilvusIndex)
            times = Times()
            measure(index, record, times)
    callers.table(["", "wall ms", "least", "our CPU ms", "Milvus's CPU ms"], times.rows)


if __name__ == "__main__":
    main()
