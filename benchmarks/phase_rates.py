"""What each phase after embedding costs a node, from what was measured: for `scale_plan.py`.

A node has 2 cores and two workers. Its seconds with a phase are those of one worker over what two
are worth beside one, both of figures/scale.json (`phases.py`, the largest corpus that was
measured); loads, searches and publishing are of figures/scale_runs.json (`scale.py`). Reconcile and
compare grow with the chunks: they read no vectors. Verify and audit grow with the numbers too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import SCALE, Figure

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.unrelated import UNRELATED
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.load_items import TEXT_BYTES
from mrag_pipeline.stages.ingest.verify_items import (
    compare_items,
    drawn_sample,
    sample_items,
    sample_seed,
)
from mrag_pipeline.stages.versions.search_check import MOST_SEARCHED
from tests.support.fake_staging import a_card, a_manifest

SHARDS = 65  # that a corpus of 100,000 chunks and more was cut into, until they reach 16 MB
HEADS, DIM = 12, 32  # unless the name of a figure says others
IN_DRIVER = ("reconcile", "load", "verify")  # of scale.py
_DRIVER = re.compile(r"driver, [\d,]+ chunks")
_SIZE = re.compile(r"([\d,]+) chunks(?: x (\d+) heads x (\d+))?$")


@dataclass(frozen=True)
class Measured:
    """Seconds of a node with a phase."""

    seconds: float
    chunks: int
    heads: int
    dim: int

    @property
    def numbers(self) -> int:
        """Of all vectors: the standard embedding is as wide as all heads together."""
        return 2 * self.chunks * self.heads * self.dim


def on_a_node(figures: Mapping[str, Figure], phase: str) -> Measured:
    """The largest corpus of which the phase was measured."""
    found = []
    for name, one in figures.items():
        size = _SIZE.fullmatch(name.removeprefix(f"{phase}, 1 worker, "))
        if size is None:
            continue
        worth = figures[f"{phase}, 1 to 2 workers, {size[0]}"]
        seconds = float(one["value"]) / float(worth["value"])
        heads, dim = int(size[2] or HEADS), int(size[3] or DIM)
        found.append(Measured(seconds, int(size[1].replace(",", "")), heads, dim))
    if not found:
        raise SystemExit(f"{SCALE} has no {phase}: run benchmarks/scale_figures.py --only phases")
    return max(found, key=lambda one: one.chunks)


def verify_bytes(chunks: int, shards: int, heads: int, dim: int) -> tuple[list[int], list[int]]:
    """Of the items of a verification, as the product cuts them: those that sample and compare."""
    card = replace(a_card([Head(5, head) for head in range(heads)], dim), standard_dim=heads * dim)
    manifest, spec = a_manifest(num_shards=0, card=card), IngestSpec()
    sizes = {shard: chunks * (shard + 1) // shards - chunks * shard // shards
             for shard in range(shards)}  # fmt: skip
    sample = drawn_sample(sizes, spec.verify_sample, sample_seed(manifest))
    samples = sample_items(manifest, sample, sizes, chunks)
    compares = compare_items(manifest, sample, sizes, spec)
    return [item.num_bytes for item in samples], [item.num_bytes for item in compares]


@dataclass(frozen=True)
class Rates:
    """Seconds of a node."""

    reconcile: float  # a chunk
    compare: float  # a chunk
    verify: float  # a byte that is read
    audit: float  # a number of the vectors
    load: float  # the same
    search: float  # a number that FLAT compares with a window
    publish: float  # whatever the size
    of: Mapping[str, str]  # by phase: what was measured

    @classmethod
    def known(cls, run: Mapping[str, Any]) -> Rates:
        """From the largest run of `scale.py`, and the figures of the phases."""
        figures: dict[str, Figure] = json.loads(SCALE.read_text())
        names = ("reconcile", "verify", "audit", "compare")
        reconcile, verify, audit, compare = (on_a_node(figures, name) for name in names)
        read = verify_bytes(verify.chunks, SHARDS, verify.heads, verify.dim)
        numbers = 2 * run["chunks"] * run["heads"] * run["dim"]
        windows, ms = max((int(windows), ms) for windows, ms in run["search_ms"].items())
        of = {name: f"measured, {one.chunks:,} chunks" for name, one in zip(
            names, (reconcile, verify, audit, compare), strict=True)}  # fmt: skip
        of["load"] = f"measured, {run['chunks']:,} chunks"
        of["publish"] = "measured, the same at every size"
        of["search"] = f"measured, {windows} windows at {run['chunks']:,} chunks"
        return cls(
            reconcile.seconds / reconcile.chunks,
            compare.seconds / compare.chunks,
            verify.seconds / sum(map(sum, read)),
            audit.seconds / audit.numbers,
            run["seconds"]["load"] / numbers,
            ms / 1e3 / (windows * numbers / 2),  # of the heads
            run["seconds"]["publish"],
            of,
        )


@dataclass(frozen=True)
class Searches:
    """How many windows a phase asks for in how many of a chunk's numbers: (windows x numbers)."""

    width: int  # of all heads

    @property
    def verify(self) -> int:
        """A sample, in every collection."""
        return IngestSpec().verify_sample * 2 * self.width

    @property
    def calibrate(self) -> int:
        """Unrelated questions, by the standard embedding."""
        return len(UNRELATED) * self.width

    @property
    def audit(self) -> int:
        """A larger sample, in every collection."""
        return MOST_SEARCHED * 2 * self.width


@dataclass(frozen=True)
class Memory:
    """Bytes of a process, and how they grow with the bytes of a shard, by phase.

    One process did all phases of a run of `scale.py` but embedding, and memory that it had once it
    may have kept: the later phases' growth is at most that.
    """

    driver: float  # with workers, whatever the number of chunks
    embed: float  # a byte of a shard's vectors
    reconcile: float  # a byte of a shard's rows of the chunks collection
    load: float
    verify: float

    @classmethod
    def known(cls, runs: Sequence[Mapping[str, Any]]) -> Memory:
        """From the two largest runs of `scale.py`, and the largest driver of `phases.py`."""
        figures: dict[str, Figure] = json.loads(SCALE.read_text())
        driver = max(
            float(one["value"]) for name, one in figures.items() if _DRIVER.fullmatch(name)
        )
        smaller, larger = sorted(runs, key=lambda run: int(run["chunks"]))[-2:]
        each: float = larger["chunks"] / larger["shards"] - smaller["chunks"] / smaller["shards"]
        width = larger["heads"] * larger["dim"]

        def growth(phase: str, process: str, row_bytes: int) -> float:
            more = larger["memory_mb"][phase][process] - smaller["memory_mb"][phase][process]
            return max(0.0, float(more)) * 1e6 / (each * row_bytes)

        own = (growth(phase, "driver", 4 * width + TEXT_BYTES) for phase in IN_DRIVER)
        return cls(driver * 1e6, growth("embed", "worker", 8 * width), *own)
