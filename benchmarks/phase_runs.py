"""The phases after embedding, run by warm workers on staged files: what `phases.py` measures."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from file_index import FileIndex
from synthetic import LineSegmenter, Shape, SyntheticEncoder, open_synthetic, write_corpus
from warm_pools import Opened, Pools, items_cpu_s

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Staging, Work
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.reconcile_items import Reconciler
from mrag_pipeline.stages.ingest.verify import CollectionCheck, verify
from mrag_pipeline.stages.ingest.verify_items import Verifier
from mrag_pipeline.stages.sync import compare_items, item_comparison
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from mrag_pipeline.stages.sync.compare_items import CorpusComparer
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.row_items import RowChecker

SILENT = LogProgress(lambda _: None)
SHAPE = Shape()
CHANGED_EVERY = 1_000  # documents
ITEMS = 64  # of a comparison
PHASES = ("reconcile", "verify", "audit", "compare")


@dataclass(frozen=True, slots=True)
class Version:
    """A staged version, and an index that holds it."""

    config: Config
    folder: str
    manifest: Manifest

    def staging(self) -> Staging:
        """Its shards."""
        return wiring.staging(self.config, self.manifest.version)

    def index(self) -> FileIndex:
        """Its rows."""
        return FileIndex(Path(self.folder, "index"), self.config.index)


def open_reconciler(version: Version, _config: Config) -> Opened:
    """A worker's work; one thread."""
    return Opened(Reconciler(version.manifest, version.staging(), threads=1), version.folder)


def open_verifier(version: Version, config: Config) -> Opened:
    """A worker's work; one thread."""
    made = Verifier(version.manifest, version.staging(), version.index(), config.ingest, threads=1)
    return Opened(made, version.folder)


def open_comparer(version: Version, record: VersionRecord, _config: Config) -> Opened:
    """A worker's work."""
    return Opened(comparer(version, record), version.folder)


def comparer(version: Version, record: VersionRecord) -> CorpusComparer:
    """Compares the corpus with the version."""
    return CorpusComparer(
        record.chunks_collection(),
        wiring.reader(version.config, record.reading()),
        wiring.delta(version.config, record.version, 1),
        version.index(),
    )


def open_checker(version: Version, record: VersionRecord, _config: Config) -> Opened:
    """A worker's work."""
    staged = wiring.staged_version(version.config, record)
    return Opened(RowChecker(record, version.index(), staged), version.folder)


def staged(folder: Path, num_chunks: int, shape: Shape = SHAPE) -> Version:
    """Embeds and stages a corpus of so many chunks."""
    write_corpus(folder / "corpus.jsonl", num_chunks)
    config = Config.parse(
        {
            "index": "phases",
            "corpus": {"uri": str(folder / "corpus.jsonl")},
            "staging": {"uri": str(folder / "staging")},
            "workers": {"device": "cpu", "count": 2, "late_factor": 0},
            "lexical": {"enabled": False},
        }
    )
    made = plan(
        wiring.request(config),
        open_corpus(config.corpus),
        SyntheticEncoder(shape),
        LineSegmenter(),
        partial(wiring.staging, config),
        None,
    )
    version = Version(config, str(folder), made.manifest)
    staging = version.staging()
    staging.write_manifest(made.manifest)
    work = embed_work(made.manifest, partial(open_synthetic, shape))
    embed(made.manifest, staging, lambda: RayPool(config, work), config.ingest, SILENT)
    return version


def changed_corpus(version: Version) -> Version:
    """The version with a corpus of which some documents have another text."""
    folder = Path(version.folder)
    file = folder / "changed.jsonl"
    if not file.exists():
        with (folder / "corpus.jsonl").open("rb") as lines, file.open("wb") as changed:
            for number, line in enumerate(lines):
                changed.write(
                    line if number % CHANGED_EVERY else line.replace(b'text": "', b'text": "x ')
                )
    corpus = replace(version.config.corpus, uri=str(file))
    return replace(version, config=version.config.model_copy(update={"corpus": corpus}))


def fill(version: Version, with_vectors: bool) -> None:
    """Writes the files of the version's index."""
    version.index().fill(version.manifest, version.staging(), with_vectors)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a phase took."""

    seconds: float
    driver_cpu_s: float
    items_cpu_s: float  # of all workers

    @property
    def driver_share(self) -> float:
        """Of all CPU: what a second worker cannot take over; the same on a busy machine."""
        return self.driver_cpu_s / (self.driver_cpu_s + self.items_cpu_s)


def run_phases(
    version: Version, count: int, phases: Collection[str] = PHASES
) -> tuple[dict[str, Taken], object]:
    """What each phase took on so many workers, and what was found, to be compared.

    Args:
        phases: those that run, and reconcile, which the others need.
    """
    manifest, staging, index = version.manifest, version.staging(), version.index()
    seconds: dict[str, Taken] = {}

    def timed(name: str, open_work: Callable[[Config], Work], run: Callable[[Pools], Any]) -> Any:
        pools = Pools(version.config, count, open_work)
        began, cpu_began = time.monotonic(), time.process_time()
        found = run(pools)
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        items_s = items_cpu_s(version.folder)
        seconds[name] = Taken(wall_s - pools.opening_s, cpu_s - pools.opening_cpu_s, items_s)
        return found

    counts: StagedCounts = timed(
        "reconcile",
        partial(open_reconciler, version),
        lambda pools: reconcile(manifest, staging, version.config.ingest, SILENT, pools),
    )
    with_vectors = not {"verify", "audit"}.isdisjoint(phases)
    if {*phases} - {"reconcile"} and not index.is_filled(manifest, with_vectors):
        # In another process: the driver's memory is measured, not that of filling an index.
        spawn = multiprocessing.get_context("spawn")
        filling = spawn.Process(target=fill, args=(version, with_vectors))
        filling.start()
        filling.join()
        assert filling.exitcode == 0
    found: list[object] = [counts.num_chunks, counts.sums.unit_sum.tobytes()]
    checks: list[CollectionCheck] = []
    if "verify" in phases:
        checks = timed(
            "verify",
            partial(open_verifier, version),
            lambda pools: verify(
                manifest, staging, index, counts.num_chunks, version.config.ingest, SILENT, pools
            ),
        )
    if "audit" not in phases and "compare" not in phases:
        return seconds, (*found, checks)
    record = keep_ready(manifest, counts, index, checks)
    if "audit" in phases:
        report = timed(
            "audit",
            partial(open_checker, version, record),
            lambda pools: audit(
                record, wiring.staged_version(version.config, record), index, SILENT, pools
            ),
        )
        assert report.findings == (), report.findings
        found.append(report)
    if "compare" not in phases:
        return seconds, (*found, checks)
    # Another corpus: one document in CHANGED_EVERY is changed. As many items as of the gigabyte
    # from which workers compare.
    changed = changed_corpus(version)
    item_comparison.ITEM_BYTES = Path(version.folder, "corpus.jsonl").stat().st_size // ITEMS
    compare_items.MARKS_ROWS = counts.num_chunks // ITEMS
    compared = timed(
        "compare",
        partial(open_comparer, changed, record),
        lambda pools: compare(
            record,
            wiring.reader(changed.config, record.reading()),
            index,
            wiring.delta(changed.config, record.version, 1),
            SyncSpec(),
            changed.config.ingest,
            SyncScope(),
            SILENT,
            pools,
            is_shared=True,
        ),
    )
    assert compared.difference.changed, compared.difference
    return seconds, (*found, checks, compared)
