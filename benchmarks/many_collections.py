"""What Milvus does with many collections: time to open, search, flip and retire.

    python benchmarks/many_collections.py [--versions 20] [--heads 24] [--lite] [--write]

Versions of the product's index, each of so many head collections and a chunks collection, are
loaded one after the other into a server started for it (`pip install --no-deps milvus==2.3.5`);
after some of them the index is opened anew, the newest version is searched and made live. At the
end the check of `plan` is asked for one more version under a limit that it would pass
(`milvus.advised_collections`), and all versions but the live one are retired. 20 versions of 25
collections are 500. `--write` keeps each step's figures in figures/scale.json when it is done.
`--lite` does the same with Milvus Lite, for which no number is advised, and counts its files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import SCALE, Figure, figure, keep, table

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.version import chunks_collection, head_collection
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import CollectionSpec, SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.versions.retire import drop
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.tables import CHUNKS, lists
from tests.support.milvus_server import ONE_A_HOST, Server

INDEX, DIM, WINDOWS, HITS = "many", 32, 8, 10
SEARCHES = 20
LOOKED_AT = ("open", "search of all heads", "flip", "count of every collection")


@dataclass(frozen=True, slots=True)
class Store:
    """Where the collections are: a server, or a folder of Milvus Lite."""

    uri: str
    server: Server | None = None

    def size(self) -> tuple[str, Figure]:
        """Of a server its memory, of Lite its files."""
        if self.server is not None:
            rss = psutil.Process(self.server.pid).memory_info().rss
            return "server's memory", figure([rss / 1e6], "MB", 0)
        files = sum(one.is_file() for one in Path(self.uri).rglob("*"))
        return "files", figure([files], "files", 0)

    def figures(self, num_collections: int, step: dict[str, Figure]) -> dict[str, Figure]:
        """The step's, under names that say where it was and how many collections were there."""
        where = "" if self.server is not None else "Milvus Lite, "
        return {f"{where}{num_collections} collections, {name}": one for name, one in step.items()}


@contextmanager
def started(folder: Path, is_lite: bool) -> Iterator[Store]:
    """One that is empty, while the block runs."""
    if is_lite:
        yield Store(str(folder / "index.db"))
        return
    with FileLock(ONE_A_HOST):
        server = Server(folder)
        server.start()
        try:
            yield Store(server.uri, server)
        finally:
            server.kill()


def main() -> None:
    """Measures, prints a line for each size, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--heads", type=int, default=24)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--lite", action="store_true", help="Milvus Lite in place of a server")
    options = parser.parse_args()
    figures: dict[str, Figure] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), options.lite) as store,
    ):
        for step in measured(store, options.versions, options.heads, options.rows):
            figures |= step
            if options.write:
                keep(SCALE, step)
    print("\n" + "\n".join(table(figures)))


def measured(store: Store, versions: int, heads: int, rows: int) -> Iterator[dict[str, Figure]]:
    """The figures of one store, that is filled and emptied again, step by step."""
    names = [f"v{number:012x}" for number in range(versions)]
    print(f"{'collections':>11} {'load one, s':>12} {'open, ms':>9} {'search, ms':>11}"
          f" {'flip, ms':>9} {'look at all, s':>15} {'MB or files':>11}", flush=True)  # fmt: skip
    for number, version in enumerate(names, start=1):
        with closing(opened(store)) as index:
            load_s = seconds(partial(load, index, version, heads, rows))
        num_collections = number * (heads + 1)
        if number in (1, 2, 4) or number % 5 == 0 or number == versions:
            step = looked_at(store, version, heads)
            values = [float(one["value"]) for one in step.values()]
            step |= {f"load of {heads + 1} more": figure([load_s], "s")}
            print("{:11} {:12.2f} {:9.1f} {:11.1f} {:9.1f} {:15.2f} {:11,.0f}".format(
                num_collections, load_s, *values), flush=True)  # fmt: skip
            yield store.figures(num_collections, step)
    if store.server is not None:
        yield store.figures(num_collections, refusal(store, heads, num_collections))
    with closing(opened(store)) as index:
        retired = [version for version in names if version != index.live()]
        took = [
            seconds(partial(drop, index, INDEX, version, lambda _: None)) for version in retired
        ]
    if took:
        step = {f"retire a version of {heads + 1}": figure(took, "s")}
        yield store.figures(num_collections, step)


def refusal(store: Store, heads: int, num_collections: int) -> dict[str, Figure]:
    """How long `plan` takes to refuse a version too many, and what it says then."""
    spec = MilvusSpec(uri=store.uri, timeout_s=120, advised_collections=num_collections)
    with closing(open_index(spec, INDEX)) as index:
        began = time.monotonic()
        try:
            index.check_limits(collections("v" + 12 * "f", heads), 1)
        except PlanRefused as error:
            took = time.monotonic() - began
            print(f"one more, if {num_collections} are advised: {error}", flush=True)
            return {"plan refuses a version more": figure([1e3 * took], "ms")}
    raise AssertionError("one more version was not refused")


def opened(store: Store) -> VectorIndex:
    """The product's index."""
    return open_index(MilvusSpec(uri=store.uri, timeout_s=120), INDEX)


def collections(version: str, heads: int) -> list[CollectionSpec]:
    """A version's: the heads, then the chunks."""
    own = [
        CollectionSpec(head_collection(INDEX, version, Head(5, number)), "head", DIM)
        for number in range(heads)
    ]
    return [*own, CollectionSpec(chunks_collection(INDEX, version), "chunks", DIM)]


def load(index: VectorIndex, version: str, heads: int, rows: int) -> None:
    """Loads a version, as many collections at a time as the product does."""
    vectors = np.random.default_rng(0).normal(size=(rows, DIM)).astype(np.float32)
    ids = np.arange(rows, dtype=np.int64)
    of_head = tables.head_table(ids, vectors, "float32")
    of_chunks = chunk_rows(ids, vectors)
    *own, chunks = collections(version, heads)
    with ThreadPoolExecutor(index.capabilities().loads_at_once) as threads:
        list(threads.map(lambda one: index.load(one, [of_head]), own))
    index.load(chunks, [of_chunks])


def chunk_rows(ids: np.ndarray, vectors: np.ndarray) -> pa.Table:
    """Short texts."""
    number = len(ids)
    values: dict[str, Any] = {
        "chunk_id": ids,
        "document_id": [f"d{i}" for i in range(number)],
        "ordinal": [0] * number,
        "start": [0] * number,
        "end": [9] * number,
        "title": [""] * number,
        "text": [f"text {i}" for i in range(number)],
        "metadata": ["{}"] * number,
        "fingerprint": [f"print {i}" for i in range(number)],
    }
    arrays = [pa.array(values[f.name], f.type) for f in CHUNKS if f.name != "vector"]
    return pa.Table.from_arrays([*arrays, lists(vectors)], schema=CHUNKS)


def looked_at(store: Store, version: str, heads: int) -> dict[str, Figure]:
    """Opens the index anew; searches a version, makes it live, looks at all collections."""
    queries = np.random.default_rng(1).normal(size=(WINDOWS, DIM)).astype(np.float32)
    requests = [SearchRequest(one.name, queries, HITS) for one in collections(version, heads)[:-1]]
    began = time.monotonic()
    with closing(opened(store)) as index:
        index.live()
        open_s = time.monotonic() - began
        for _ in range(3):
            index.search(requests)
        searches = [seconds(lambda: index.search(requests)) for _ in range(SEARCHES)]
        flip_s = seconds(lambda: index.activate(version))
        look_s = seconds(lambda: [index.count(name) for name in index.collections()])
    found = (
        figure([1e3 * open_s], "ms", 1),
        figure([1e3 * one for one in searches], "ms", 1),
        figure([1e3 * flip_s], "ms", 1),
        figure([look_s], "s"),
    )
    return dict([*zip(LOOKED_AT, found, strict=True), store.size()])


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
