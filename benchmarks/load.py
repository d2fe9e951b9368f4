"""Loads staged heads into a real Milvus server, beside a plain insert loop.

    python benchmarks/load.py [--rows 200000] [--heads 12] [--dim 32] [--repeats 2] [--write]

Five ways to load the same staged rows, in turn, from the first row to a collection that is
counted, indexed and loaded:
  ours   stages/load: heads in parallel, messages packed from Arrow
  bulk   the same with bulk import: the server reads files that we write
  staged the same with all rows in one shard, whose files the server reads where they are
  plain  MilvusClient.insert of rows as dicts, 2,000 at a time, then flush, index, load; one
         collection after the other
  row    the same with one row per call, as the reference code does; scaled from a sample of rows
Starts its own server (`pip install --no-deps milvus==2.3.5`), or uses the empty one at `--uri`,
whose CPU time is then not known; `bulk` and `staged` need one that reads this machine's files.

Prints each run, then the medians over the repeats. After `ours` all ids of a head are read, as an
audit reads them. Our part of a load is the CPU time of this process: beside the rows, beside the
server's CPU time, and beside the time that the load takes, whether or not the server works
meanwhile. `--write` keeps the figures in figures/scale.json.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import SCALE, Figure, figure, keep, table
from load_timing import Run, Served, Spent, measured, own_part
from pymilvus import MilvusClient

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.index.milvus import collections as milvus_collections
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.index.milvus.insert import insert
from mrag_pipeline.index.milvus.schema import schema
from mrag_pipeline.ports import CollectionSpec, ShardOutput, Staging
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.staging.bulk_files import BulkFolder
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import a_card, a_manifest
from tests.support.milvus_server import ONE_A_HOST, Server

SHARD_ROWS = 20_000
PLAIN_ROWS = 2_000
STANDARD_DIM = 6  # a_card's
WAYS = ("ours", "bulk", "staged", "plain", "row")
SILENT = LogProgress(lambda _: None)


class HeadsOnly:
    """An index that skips the chunks collection, which the plain loop does not load either."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """As the index says; always True for chunks."""
        return collection.kind == "chunks" or self._inner.is_complete(collection, num_rows)


def main() -> None:
    """Prints every run, then the figures."""
    options = _arguments()
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    ids_us: list[float] = []  # a row
    with tempfile.TemporaryDirectory() as folder, _server(options.uri, Path(folder)) as server:
        print(
            f"{options.heads} heads x {options.rows:,} rows x {options.dim} dims, "
            f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}",
            flush=True,
        )
        manifest, staging = _staged(options, Path(folder) / "staging", SHARD_ROWS)
        bulk = str(Path(folder) / "bulk")
        files = BulkFolder(bulk)
        one_shard = cache(lambda: _staged(options, Path(folder) / "one-shard", options.rows))
        once: dict[str, Callable[[], Run]] = {
            "ours": lambda: _ours(server, manifest, staging, options, None, ids_us),
            "bulk": lambda: _ours(server, manifest, staging, options, files),
            "staged": lambda: _ours(server, *one_shard(), options, files),
            "plain": lambda: _plain(server, manifest, staging),
            "row": lambda: _row_by_row(server, manifest, staging, options),
        }
        for _ in range(options.repeats):
            for way in options.ways:
                runs[way].append(once[way]())
                print(f"{way:6} {runs[way][-1]}", flush=True)
    found = _figures(options, runs)
    if ids_us:
        found[f"ids of {options.rows:,} rows, read by one process"] = figure(ids_us, "us")
    print("\n" + "\n".join(table(found)))
    if options.write:
        keep(SCALE, found)


def _figures(options: argparse.Namespace, runs: dict[str, list[Run]]) -> dict[str, Figure]:
    """By name; of the ways that were run."""
    size = f"{options.heads} heads x {options.rows:,} rows x {options.dim}"
    figures: dict[str, Figure] = {}
    for way, what in (
        ("ours", f"load, {size}"),
        ("bulk", f"bulk import, {size}"),
        ("staged", f"bulk import of staged files, {size}"),
    ):
        figures |= own_part(what, runs[way], options.heads * options.rows)
    plain = [run.seconds for run in runs["plain"]]
    row = [
        of_row.seconds + of_plain.seconds - of_plain.spent["insert"]
        for of_row, of_plain in zip(runs["row"], runs["plain"], strict=False)
    ]
    for what, theirs, own in (
        (f"load, {size}: plain insert loop to ours", plain, runs["ours"]),
        (f"load, {size}: row by row, scaled, to ours", row, runs["ours"]),
        (f"bulk import, {size}: plain insert loop to ours", plain, runs["bulk"]),
        (f"bulk import of staged files, {size}: plain insert loop to ours", plain, runs["staged"]),
    ):
        ratios = [seconds / run.seconds for seconds, run in zip(theirs, own, strict=False)]
        if ratios:  # both were run
            figures[what] = figure(ratios, "times")
    return figures


def _ours(
    server: Served,
    manifest: Manifest,
    staging: Staging,
    options: Any,
    bulk: Any,
    ids_us: list[float] | None = None,
) -> Run:
    spec = MilvusSpec(uri=server.uri, load_threads=options.threads, bulk_min_rows=1)
    index: Any = open_index(spec, "docs", bulk)
    spent = Spent()
    for name in ("flush", "create_index", "load_collection"):
        setattr(index._client, name, spent.timed(name, getattr(index._client, name)))
    if bulk is not None:
        index._import.fill = spent.timed("import", index._import.fill)
    heads: Any = HeadsOnly(index)
    with patch.object(milvus_collections, "insert", spent.timed("insert", insert)):
        run = measured(server, lambda: load(manifest, staging, heads, options.rows, SILENT), spent)
    assert bulk is None or index._import._reads_staging, "the server did not read staged files"
    if ids_us is not None:
        began = time.monotonic()
        num_ids = sum(map(len, index.ids(_heads(manifest)[0].name)))
        ids_us.append(1e6 * (time.monotonic() - began) / num_ids)
    for collection in _heads(manifest):
        assert index.count(collection.name) == options.rows, collection.name
        index.drop(collection.name)
    index.close()
    return run


def _plain(server: Served, manifest: Manifest, staging: Staging) -> Run:
    client = MilvusClient(server.uri)
    spent = Spent()

    def loop() -> None:
        for number, collection in enumerate(_heads(manifest)):
            client.create_collection(collection.name, schema=schema(collection))
            for shard in manifest.shards:
                table = staging.head(shard.index, manifest.encoder.heads[number])
                ids = table["chunk_id"].to_pylist()
                vectors = table["vector"].to_pylist()
                rows = [{"chunk_id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)]
                for start in range(0, len(rows), PLAIN_ROWS):
                    batch = rows[start : start + PLAIN_ROWS]
                    spent.timed("insert", client.insert)(collection.name, batch)
            _finish(client, collection.name, spent)

    run = measured(server, loop, spent)
    for collection in _heads(manifest):
        client.drop_collection(collection.name)
    client.close()
    return run


def _row_by_row(server: Served, manifest: Manifest, staging: Staging, options: Any) -> Run:
    """All inserts, and only these, scaled from a sample: each row goes to every head in turn."""
    client = MilvusClient(server.uri)
    spent = Spent()
    heads = _heads(manifest)
    tables = [staging.head(0, head).slice(0, options.sample) for head in manifest.encoder.heads]
    columns = [(t["chunk_id"].to_pylist(), t["vector"].to_pylist()) for t in tables]
    for collection in heads:
        client.create_collection(collection.name, schema=schema(collection))

    def loop() -> None:
        for row in range(options.sample):
            for collection, (ids, vectors) in zip(heads, columns, strict=True):
                one = [{"chunk_id": ids[row], "vector": vectors[row]}]
                spent.timed("insert", client.insert)(collection.name, one)

    run = measured(server, loop, spent).scaled(options.rows / options.sample)
    for collection in heads:
        client.drop_collection(collection.name)
    client.close()
    return run


def _finish(client: MilvusClient, name: str, spent: Spent) -> None:
    spent.timed("flush", client.flush)(name)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="COSINE")
    spent.timed("create_index", client.create_index)(name, params)
    spent.timed("load_collection", client.load_collection)(name)
    client.query(name, output_fields=["count(*)"], consistency_level="Strong")


def _heads(manifest: Manifest) -> Sequence[CollectionSpec]:
    return [one for one in collections_of(manifest) if one.kind == "head"]


def _staged(options: Any, folder: Path, shard_rows: int) -> tuple[Manifest, Staging]:
    """Stages random rows as the embed phase leaves them."""
    heads = [Head(5, h) for h in range(options.heads)]
    num_shards = -(-options.rows // shard_rows)
    manifest = a_manifest(num_shards=num_shards, card=a_card(heads, options.dim))
    staging = ShardFolders(StagingSpec(uri=str(folder)), "docs", manifest.version)
    staging.write_manifest(manifest)
    random = np.random.default_rng(0)
    for shard in range(num_shards):
        first = shard * shard_rows
        num_rows = min(shard_rows, options.rows - first)
        vectors = random.normal(size=(num_rows, options.heads, options.dim)).astype(np.float32)
        output = ShardOutput(
            shard=shard,
            chunks=[_chunk(first + row) for row in range(num_rows)],
            vectors=vectors,
            standard=vectors[:, 0, :STANDARD_DIM].copy(),
            sums=ImportanceSums.of(vectors),
            documents=[],
            dead_letters=[],
            num_tokens=0,
            num_bytes=0,
        )
        staging.write_shard(output, manifest.fingerprint)
    return manifest, staging


def _chunk(number: int) -> Chunk:
    # Spread over all of int64, as chunk ids are.
    spread = (number * 0x9E3779B97F4A7C15) % 2**63
    return Chunk(spread, f"d{number}", 0, 0, 1, "x")


@contextlib.contextmanager
def _server(uri: str, folder: Path) -> Iterator[Served]:
    if uri:
        yield Served(uri, None)
        return
    server = Server(folder / "milvus")  # with its default settings, not the tests' faster ones
    with FileLock(ONE_A_HOST, timeout=600):
        server.start()
        try:
            yield Served(server.uri, psutil.Process(server.pid))
        finally:
            server.kill()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--sample", type=int, default=200, help="rows of the row-by-row sample")
    parser.add_argument("--threads", type=int, default=MilvusSpec().load_threads)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--uri", default="", help="URI of an empty server; default: start one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
