"""Cost of a head in a Milvus server by index type: memory, disk, load and search time, recall.

    python benchmarks/index_types.py [--rows 300000] [--dim 128] [--types FLAT HNSW IVF_SQ8 DISKANN]
        [--results benchmarks/figures/index_types.json]

The product's index adapter loads one head collection of synthetic vectors into a server started for
it (`pip install --no-deps milvus==2.3.5`). The server is then killed and restarted, and its memory
before and after the collection is loaded for searching is compared, so that memory left over from
the load itself is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic import Shape, SyntheticEncoder

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.errors import MragError
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import CollectionSpec, SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.staging import tables
from tests.support.milvus_server import ONE_A_HOST, Server

BLOCK = 20_000
QUERIES, HITS, RECALL_AT = 64, 64, 10
SETTLE_S = 5.0


def main() -> None:
    """Prints a line for each type."""
    options = _arguments()
    spec = CollectionSpec("types_v0123456789ab_l05_h00", "head", options.dim)
    ids, vectors = _rows(options.rows, options.dim)
    queries = SyntheticEncoder(Shape(1, options.dim)).encode(
        [f"question {number}" for number in range(QUERIES)], "query"
    )
    wanted = top_k(ids, vectors, queries.heads[:, 0], RECALL_AT).ids
    raw_mb = vectors.nbytes / 1e6
    print(f"{options.rows:,} rows x {options.dim}: {raw_mb:,.0f} MB of vectors", flush=True)
    for name in options.types:
        with tempfile.TemporaryDirectory() as folder, FileLock(ONE_A_HOST):
            try:
                figures = _measure(
                    name, Path(folder), spec, ids, vectors, queries.heads[:, 0], wanted
                )
            except (MragError, RuntimeError) as error:
                print(f"{name:<10} not measured: {str(error).splitlines()[0][:150]}", flush=True)
                continue
        print(
            f"{name:<10} memory {figures['memory_mb']:7,.0f} MB "
            f"({figures['memory_factor']:.2f}x the vectors)   disk {figures['disk_mb']:7,.0f} MB   "
            f"load {figures['load_s']:6.1f} s   search 1 window {figures['search_ms_1']:6.1f} ms, "
            f"8 windows {figures['search_ms_8']:6.1f} ms   "
            f"recall@{RECALL_AT} {figures['recall']:.3f}",
            flush=True,
        )
        if options.results:
            results = Path(options.results)
            known = json.loads(results.read_text()) if results.exists() else {}
            known[name] = {"rows": options.rows, "dim": options.dim, **figures}
            results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _measure(
    name: str,
    folder: Path,
    spec: CollectionSpec,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    wanted: NDArray[np.int64],
) -> dict[str, float]:
    server = Server(folder / "milvus")
    server.start()
    try:
        started = time.monotonic()
        with closing(_opened(server, name)) as index:
            index.load(spec, _tables(ids, vectors))
        seconds = time.monotonic() - started
        server.kill()
        server.start()
        time.sleep(SETTLE_S)
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        with closing(_opened(server, name)) as index:
            index.count(spec.name)  # loads it
            index.search([SearchRequest(spec.name, queries[:1], HITS)])
            time.sleep(SETTLE_S)
            held = (process.memory_info().rss - before) / 1e6
            spent = {nq: _search_ms(index, spec.name, queries, nq) for nq in (1, 8)}
            [ranking] = index.search([SearchRequest(spec.name, queries, HITS)])
        hits = [
            np.isin(own, row[:RECALL_AT]).mean()
            for own, row in zip(wanted, ranking.ids, strict=True)
        ]
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        return {
            "memory_mb": held,
            "memory_factor": held * 1e6 / vectors.nbytes,
            "disk_mb": disk,
            "load_s": seconds,
            "search_ms_1": spent[1],
            "search_ms_8": spent[8],
            "recall": float(np.mean(hits)),
        }
    finally:
        server.kill()


def _opened(server: Server, index_type: str) -> VectorIndex:
    return open_index(MilvusSpec(uri=server.uri, index_type=index_type), "types")


def _search_ms(index: VectorIndex, name: str, queries: NDArray[np.float32], nq: int) -> float:
    spent = []
    for start in range(0, len(queries), nq):
        started = time.perf_counter()
        index.search([SearchRequest(name, queries[start : start + nq], HITS)])
        spent.append((time.perf_counter() - started) * 1e3)
    return statistics.median(spent)


def _rows(number: int, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    encoder = SyntheticEncoder(Shape(1, dim))
    texts = [f"text {row}" for row in range(number)]
    vectors = encoder.encode(texts, "document").heads[:, 0]
    spread = np.arange(number, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (spread >> np.uint64(1)).astype(np.int64), vectors


def _tables(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Iterator[pa.Table]:
    for start in range(0, len(ids), BLOCK):
        stop = start + BLOCK
        yield tables.head_table(ids[start:stop], vectors[start:stop], "float32")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--types", nargs="+", default=["FLAT", "HNSW", "IVF_SQ8", "DISKANN"])
    parser.add_argument("--results", default="", help="a JSON file to keep the figures in")
    return parser.parse_args()


if __name__ == "__main__":
    main()
