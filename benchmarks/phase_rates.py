"""What each phase after embedding costs a node, from what was measured: for `scale_plan.py`.

A node as it was measured has 2 cores and two workers. Its seconds with a phase's items are those of
one worker over what two are worth beside one, less the share of the run's own process (the
*driver*), which no node takes over: all of figures/scale.json (`phases.py`, the largest corpus that
was measured). Loads, searches and publishing are of figures/scale_runs.json (`scale.py`). Reconcile
and compare grow with the chunks: they read no vectors. Verify and audit grow with the numbers of
the vectors too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from figure import SCALE, Figure
from plan_items import Corpus, verify_bytes

from mrag_pipeline.domain.unrelated import UNRELATED
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.load_items import TEXT_BYTES
from mrag_pipeline.stages.versions.search_check import MOST_SEARCHED

SHARDS = 65  # that a corpus of 100,000 chunks and more was cut into, until they reach 16 MB
HEADS, DIM = 12, 32  # unless the name of a figure says others
LOADED = "load, 12 heads x 200,000 rows x 32"
IMPORTED = "bulk import of staged files, 12 heads x 200,000 rows x 32"
IDS_READ = "ids of 200,000 rows, read by one process"
_DRIVER = re.compile(r"driver, [\d,]+ chunks")
_SIZE = re.compile(r"([\d,]+) chunks(?: x (\d+) heads x (\d+))?$")


@dataclass(frozen=True)
class Measured:
    """Seconds of a phase."""

    node_s: float  # of a node, with its items
    driver_s: float  # of the run's own process
    worker_s: float  # of one worker, with all of it
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
        alone = float(one["value"])
        worth = float(figures[f"{phase}, 1 to 2 workers, {size[0]}"]["value"])
        of_driver = figures[f"{phase}, the driver's share of the CPU time, {size[0]}"]
        share = float(of_driver["value"]) / 100
        heads, dim = int(size[2] or HEADS), int(size[3] or DIM)
        chunks = int(size[1].replace(",", ""))
        found.append(
            Measured(alone / worth * (1 - share), alone * share, alone, chunks, heads, dim)
        )
    if not found:
        raise SystemExit(f"{SCALE} has no {phase}: run benchmarks/scale_figures.py --only phases")
    return max(found, key=lambda one: one.chunks)


@dataclass(frozen=True)
class Rate:
    """Seconds for each of what a phase grows with."""

    node_s: float  # of a node, divided over the nodes
    driver_s: float  # of the run's own process, whatever the nodes
    source: str


@dataclass(frozen=True)
class Rates:
    """What was measured."""

    reconcile: Rate  # a chunk
    compare: Rate  # a chunk
    verify: Rate  # a byte that is read
    audit: Rate  # a number of the vectors; of the driver a chunk
    load: Rate  # a number of the vectors
    search: Rate  # a number that FLAT compares with a window
    publish: Rate  # whatever the size
    ids: Rate  # an id of a collection, of one process: as `driver_s`
    staged_ids: Rate  # a chunk's, of one process: as `driver_s`
    import_times: float  # as fast as inserts is bulk import

    @classmethod
    def known(cls, run: Mapping[str, Any]) -> Rates:
        """From the largest run of `scale.py`, and the other figures of scale."""
        figures: dict[str, Figure] = json.loads(SCALE.read_text())
        names = ("reconcile", "verify", "audit", "compare")
        reconcile, verify, audit, compare = (on_a_node(figures, name) for name in names)
        read = verify_bytes(Corpus(verify.chunks, SHARDS, verify.heads, verify.dim))
        compared = run["chunks"] * run["heads"] * run["dim"]  # numbers of the heads
        windows, ms = max((int(windows), ms) for windows, ms in run["search_ms"].items())
        return cls(
            _of(reconcile, reconcile.chunks, reconcile.chunks, _chunks(reconcile)),
            _of(compare, compare.chunks, compare.chunks, _chunks(compare)),
            _of(verify, read, read, f"{_chunks(verify)}, on an index of files"),
            _of(audit, audit.numbers, audit.chunks, f"{_chunks(audit)}, on an index of files"),
            # The chunks collection has as many numbers as all heads together.
            Rate(
                run["seconds"]["load"] / (2 * compared),
                0.0,
                f"{run['chunks']:,} chunks; {of_run(run)}",
            ),
            Rate(
                ms / 1e3 / (windows * compared),
                0.0,
                f"{windows} windows at {run['chunks']:,} chunks; {of_run(run)}",
            ),
            Rate(0.0, run["seconds"]["publish"], f"the same at every size; {of_run(run)}"),
            Rate(
                0.0,
                float(figures[IDS_READ]["value"]) / 1e6,
                "load.py, 200,000 ids of Milvus, beside other work",
            ),
            Rate(0.0, reconcile.worker_s / reconcile.chunks, "at most a reconcile's reading"),
            float(figures[LOADED]["value"]) / float(figures[IMPORTED]["value"]),
        )


def of_run(run: Mapping[str, Any]) -> str:
    """When a run of `scale.py` was made, and beside what."""
    return f"scale.py, {run['date']}, {run.get('note', 'alone')}"


def _of(measured: Measured, items: float, driver: float, source: str) -> Rate:
    """The rate, by what the items and the driver's work grow with."""
    return Rate(measured.node_s / items, measured.driver_s / driver, source)


def _chunks(measured: Measured) -> str:
    return f"phases.py, {measured.chunks:,} chunks"


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

    Workers that load or verify are counted as if all that they have beyond the smallest worker grew
    with the shard. Reconcile's is of the process that did it, which had done other phases before.
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

        smallest = min(float(run["memory_mb"]["embed"]["worker"]) for run in runs)
        row_bytes = 4 * width + TEXT_BYTES

        def beyond(phase: str) -> float:
            more = float(larger["memory_mb"][phase]["worker"]) - smallest
            return more * 1e6 / (larger["chunks"] / larger["shards"] * row_bytes)

        return cls(
            driver * 1e6,
            growth("embed", "worker", 8 * width),
            growth("reconcile", "driver", row_bytes),
            beyond("load"),
            beyond("verify"),
        )
