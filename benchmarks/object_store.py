"""Cost of an object store: listing a corpus of many keys, and staging shards there.

    python benchmarks/object_store.py [--keys 1000000] [--shards 40]     0 skips a part

Listing: our reader's plan of a bucket of text files beside pyarrow's full listing, each in a
process of its own. A stub that answers S3's listing requests holds the keys (filling a real server
takes minutes), so the time is the client's. Staging: the same shards (12 heads x 32, 1,000 chunks)
are written to and read from a real S3 server (SeaweedFS) and the local disk it uses, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mrag_pipeline.domain.documents import Chunk, chunk_id
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.ports import DocumentRow, ShardOutput
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.shards import open_staging
from tests.support.fake_staging import PLAN, a_card, a_manifest
from tests.support.s3_listing import Listing
from tests.support.s3_server import environment, exported, s3_server

ROUNDS = 3
CHUNKS, HEADS, DIM, STANDARD = 1_000, 12, 32, 6

MEASURE = """
import json, resource, sys, time
from pyarrow import fs
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.filesystems.location import open_place

began = time.process_time()
if sys.argv[1] == "ours":
    count = sum(1 for _ in open_corpus(CorpusSpec("s3://keys/docs")).slices(1 << 24))
else:
    store = open_place("s3://keys/docs", "corpus").filesystem
    infos = store.get_file_info(fs.FileSelector("keys/docs", recursive=True))
    count = sum(info.is_file for info in infos)
spent = time.process_time() - began
print(json.dumps([count, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def listing(num_keys: int) -> None:
    """Prints the listing's table. Our reader lists twice: for the formats, then for the plan."""
    print("listing | keys | CPU seconds | peak MB")
    for who in ("ours", "pyarrow"):
        for keys in (num_keys // 100, num_keys // 10, num_keys):
            count, spent, peak = measured(who, keys)
            assert count == keys, (who, count)
            print(f"{who} | {keys:,} | {spent:.1f} | {peak:.0f}", flush=True)


def measured(who: str, keys: int) -> tuple[int, float, float]:
    """Keys seen, CPU seconds, and peak memory of the process in MB."""
    with Listing(keys) as server:
        output = subprocess.run(
            [sys.executable, "-c", MEASURE, who],
            env=os.environ | environment(server.endpoint),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    count, spent, peak = json.loads(output)
    return count, spent, peak


def a_shard(number: int) -> ShardOutput:
    rng = np.random.default_rng(number)
    texts = [f"chunk {number}-{i} " + "word " * 60 for i in range(CHUNKS)]
    chunks = [
        Chunk(chunk_id(f"d{number}", i, i + 1, t), f"d{number}", i, i, i + 1, "", t, {}, "p")
        for i, t in enumerate(texts)
    ]
    vectors = rng.standard_normal((CHUNKS, HEADS, DIM), np.float32)
    return ShardOutput(
        shard=number,
        chunks=chunks,
        vectors=vectors,
        standard=rng.standard_normal((CHUNKS, STANDARD), np.float32),
        sums=ImportanceSums.of(vectors),
        documents=[DocumentRow(f"d{number}", "p", "a", CHUNKS)],
        dead_letters=[],
        num_tokens=1,
        num_bytes=1,
    )


def staged(uri: str, version: str, shards: int) -> tuple[float, float, int]:
    """Seconds to write and to read all shards, and their bytes."""
    heads = [Head(5, i) for i in range(HEADS)]
    staging = open_staging(StagingSpec(uri=uri), "bench", version)
    manifest = a_manifest(num_shards=shards, card=a_card(heads, DIM))
    staging.write_manifest(manifest)
    outputs = [a_shard(number) for number in range(shards)]
    began = time.perf_counter()
    receipts = [staging.write_shard(output, PLAN) for output in outputs]
    wrote = time.perf_counter() - began
    staging = open_staging(StagingSpec(uri=uri), "bench", version)
    began = time.perf_counter()
    for number in range(shards):
        staging.chunks(number)
        for head in heads:
            staging.head(number, head)
    read = time.perf_counter() - began
    return wrote, read, sum(file.num_bytes for receipt in receipts for file in receipt.files)


def ratios(shards: int) -> None:
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder) / "s3") as server:
        server.make_bucket("bench")
        uris = {"disk": f"{folder}/staging", "S3": "s3://bench/staging"}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in uris}
        with exported(environment(server.endpoint)):
            for turn in range(ROUNDS):
                for name, uri in uris.items():
                    wrote, read, num_bytes = staged(uri, f"v{turn:012d}", shards)
                    times[name].append((wrote, read))
    print(f"staging | {shards} shards, {num_bytes / 1e6:.0f} MB | write MB/s | read MB/s")
    for name, timings in times.items():
        rates = [
            " ".join(f"{num_bytes / 1e6 / timing[direction]:.0f}" for timing in timings)
            for direction in (0, 1)
        ]
        print(f"{name} | | {rates[0]} | {rates[1]}")
    for direction, what in enumerate(("write", "read")):
        each = [
            s3[direction] / disk[direction]
            for s3, disk in zip(times["S3"], times["disk"], strict=True)
        ]
        print(
            f"S3's time over the disk's, {what}: median {statistics.median(each):.2f} "
            f"({min(each):.2f} to {max(each):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=40)
    options = parser.parse_args()
    if options.keys:
        listing(options.keys)
    if options.shards:
        ratios(options.shards)


if __name__ == "__main__":
    main()
