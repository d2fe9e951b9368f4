"""Staged heads to searchable collections on a real Milvus server, beside a plain insert loop.

    python benchmarks/load.py [--rows 200000] [--heads 12] [--dim 32] [--repeats 2]

Three ways over the same staged rows, in turn, from the first row to a counted, indexed, loaded
collection:
  ours   stages/load: heads at the same time, messages packed from Arrow
  plain  MilvusClient.insert of rows as dicts, 2,000 at a time, then flush, index, load; a
         collection after the other
  row    the same with a row for each call, as the reference code does; a sample of the inserts,
         scaled
Starts its own server (`pip install --no-deps milvus==2.3.5`), or takes `--uri` of an empty one.
`--bulk` lets the server import files by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[1]))

from pymilvus import MilvusClient

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.index.milvus.adapter import adapter as milvus_index
from mrag_pipeline.index.milvus.schema import schema
from mrag_pipeline.ports import CollectionSpec, ShardOutput, Staging
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.load import collections_of, load
from mrag_pipeline.staging.bulk_files import BulkFolder
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import a_card, a_manifest
from tests.support.milvus_server import ONE_A_HOST, Server

SHARD_ROWS = 20_000
PLAIN_ROWS = 2_000
STANDARD_DIM = 6  # a_card's
SILENT = LogProgress(lambda _: None)


class HeadsOnly:
    """The index without the chunks collection, which a plain loop over heads has not either."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Chunks always are."""
        return collection.kind == "chunks" or self._inner.is_complete(collection, num_rows)


@dataclass
class Spent:
    """Seconds by what they went to, of all threads together."""

    seconds: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)

    def timed(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, its time added."""

        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            try:
                return call(*args, **kwargs)
            finally:
                with self.lock:
                    self.seconds[what] += time.monotonic() - started

        return run


@dataclass(frozen=True)
class Served:
    """The server; its process, if it is ours."""

    uri: str
    process: psutil.Process | None


@dataclass(frozen=True)
class Run:
    """One way, once."""

    seconds: float
    client_cpu: float
    server_cpu: float
    spent: dict[str, float]

    def __str__(self) -> str:
        parts = ", ".join(f"{what} {s:.1f}" for what, s in self.spent.items())
        return (
            f"{self.seconds:7.1f} s; CPU: client {self.client_cpu:.1f} s, server "
            f"{self.server_cpu:.1f} s ({(self.client_cpu + self.server_cpu) / self.seconds:.2f} "
            f"cores); thread-seconds: {parts}"
        )


def main() -> None:
    """Prints every run, then the ratios."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as place, _server(asked.uri, Path(place)) as server:
        print(
            f"{asked.heads} heads x {asked.rows:,} rows x {asked.dim} dims, {psutil.cpu_count()} "
            f"cores, load {psutil.getloadavg()[0]:.1f}",
            flush=True,
        )
        staging, manifest = _staged(asked, Path(place))
        bulk = BulkFolder(str(Path(place) / "bulk")) if asked.bulk else None
        ours, plain, rows = [], [], []
        for _ in range(asked.repeats):
            ours.append(_ours(server, manifest, staging, asked, bulk))
            print(f"ours   {ours[-1]}", flush=True)
            plain.append(_plain(server, manifest, staging))
            print(f"plain  {plain[-1]}", flush=True)
            rows.append(_row_by_row(server, manifest, staging, asked))
            after = plain[-1].seconds - plain[-1].spent["insert"]
            print(
                f"row    {rows[-1]:,.0f} s of inserts scaled from {asked.sample} rows, "
                f"+ {after:.1f} s for the rest as in plain",
                flush=True,
            )
        _tell("(a) plain / ours", [p.seconds / o.seconds for p, o in zip(plain, ours, strict=True)])
        _tell(
            "(b) row by row / ours",
            [
                (r + p.seconds - p.spent["insert"]) / o.seconds
                for r, p, o in zip(rows, plain, ours, strict=True)
            ],
        )


def _ours(server: Served, manifest: Manifest, staging: Staging, asked: Any, bulk: Any) -> Run:
    spec = MilvusSpec(uri=server.uri, load_threads=asked.threads, bulk_min_rows=1)
    index = milvus_index.open_index(spec, "docs", bulk)
    spent = Spent()
    for name in ("flush", "create_index", "load_collection"):
        call = getattr(index._client, name)  # type: ignore[attr-defined]
        setattr(index._client, name, spent.timed(name, call))  # type: ignore[attr-defined]
    insert, milvus_index.insert = milvus_index.insert, spent.timed("insert", milvus_index.insert)
    if bulk is not None:
        index._import.fill = spent.timed("import", index._import.fill)  # type: ignore[attr-defined]
    try:
        run = _measured(
            server,
            lambda: load(manifest, staging, HeadsOnly(index), asked.rows, SILENT),  # type: ignore[arg-type]
            spent,
        )
    finally:
        milvus_index.insert = insert
    for one in _heads(manifest):
        assert index.count(one.name) == asked.rows, one.name
        index.drop(one.name)
    index.close()
    return run


def _plain(server: Served, manifest: Manifest, staging: Staging) -> Run:
    client = MilvusClient(server.uri)
    spent = Spent()

    def loop() -> None:
        for at, one in enumerate(_heads(manifest)):
            client.create_collection(one.name, schema=schema(one))
            for shard in manifest.shards:
                table = staging.head(shard.index, manifest.encoder.heads[at])
                ids = table["chunk_id"].to_pylist()
                vectors = table["vector"].to_pylist()
                rows = [{"chunk_id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)]
                for start in range(0, len(rows), PLAIN_ROWS):
                    batch = rows[start : start + PLAIN_ROWS]
                    spent.timed("insert", client.insert)(one.name, batch)
            _finish(client, one.name, spent)

    run = _measured(server, loop, spent)
    for one in _heads(manifest):
        client.drop_collection(one.name)
    client.close()
    return run


def _row_by_row(server: Served, manifest: Manifest, staging: Staging, asked: Any) -> float:
    """Seconds for all inserts, from a sample of them: each row to every head, as it is embedded."""
    client = MilvusClient(server.uri)
    heads = _heads(manifest)
    tables = [staging.head(0, head).slice(0, asked.sample) for head in manifest.encoder.heads]
    columns = [(t["chunk_id"].to_pylist(), t["vector"].to_pylist()) for t in tables]
    for one in heads:
        client.create_collection(one.name, schema=schema(one))
    started = time.monotonic()
    for row in range(asked.sample):
        for one, (ids, vectors) in zip(heads, columns, strict=True):
            client.insert(one.name, [{"chunk_id": ids[row], "vector": vectors[row]}])
    seconds = time.monotonic() - started
    for one in heads:
        client.drop_collection(one.name)
    client.close()
    return seconds * asked.rows / asked.sample


def _finish(client: MilvusClient, name: str, spent: Spent) -> None:
    spent.timed("flush", client.flush)(name)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="COSINE")
    spent.timed("create_index", client.create_index)(name, params)
    spent.timed("load_collection", client.load_collection)(name)
    client.query(name, output_fields=["count(*)"], consistency_level="Strong")


def _measured(server: Served, run: Callable[[], Any], spent: Spent) -> Run:
    me = psutil.Process()
    mine, theirs = _cpu(me), _cpu(server.process)
    started = time.monotonic()
    run()
    seconds = time.monotonic() - started
    return Run(seconds, _cpu(me) - mine, _cpu(server.process) - theirs, dict(spent.seconds))


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _heads(manifest: Manifest) -> Sequence[CollectionSpec]:
    return collections_of(manifest.index, manifest.version, manifest.encoder, None)[:-1]


def _staged(asked: Any, place: Path) -> tuple[Staging, Manifest]:
    """Rows as the embed phase leaves them."""
    heads = [Head(5, h) for h in range(asked.heads)]
    num_shards = -(-asked.rows // SHARD_ROWS)
    manifest = a_manifest(num_shards=num_shards, card=a_card(heads, asked.dim))
    staging = ShardFolders(StagingSpec(uri=str(place / "staging")), "docs", manifest.version)
    staging.write_manifest(manifest)
    random = np.random.default_rng(0)
    for shard in range(num_shards):
        first = shard * SHARD_ROWS
        num_rows = min(SHARD_ROWS, asked.rows - first)
        vectors = random.normal(size=(num_rows, asked.heads, asked.dim)).astype(np.float32)
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
    return staging, manifest


def _chunk(number: int) -> Chunk:
    # Spread over all of int64, as chunk ids are.
    spread = (number * 0x9E3779B97F4A7C15) % 2**63
    return Chunk(spread, f"d{number}", 0, 0, 1, "x")


@contextlib.contextmanager
def _server(uri: str, place: Path) -> Iterator[Served]:
    if uri:
        yield Served(uri, None)
        return
    server = Server(place / "milvus")  # as it is by default, not as the tests hurry it
    with FileLock(ONE_A_HOST, timeout=600):
        server.start()
        try:
            yield Served(server.uri, psutil.Process(server.pid))
        finally:
            server.kill()


def _tell(what: str, ratios: Sequence[float]) -> None:
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    print(f"{what}: {statistics.median(ratios):.1f}x ({spread} in {len(ratios)} runs)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--sample", type=int, default=200, help="rows of the row-by-row sample")
    parser.add_argument("--threads", type=int, default=MilvusSpec().load_threads)
    parser.add_argument("--bulk", action="store_true", help="the server imports files by itself")
    parser.add_argument("--uri", default="", help="of an empty server; default: one of its own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
