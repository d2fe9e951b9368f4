"""What a second worker is worth after embedding: reconcile, verify and audit by items.

    python benchmarks/phases.py [--chunks N] [--memory-chunks N ...]

One worker and two, in turns, on the same staged files and on an index that answers from files, so
that no store is the limit; each worker has one thread. Their start and their opening of the index
are left out. Then the driver's memory with two workers, by number of chunks, each in a process of
its own. Only the model is left out (`synthetic.py`). About ten minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from synthetic import LineSegmenter, Shape, SyntheticEncoder, open_synthetic, write_corpus

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.proofs import PROOF
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import ChunkRow, Mark, Ranking, SearchRequest, Staging, Work
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.runtime.cluster import start_local
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.reconcile_items import Reconciler
from mrag_pipeline.stages.ingest.verify import CollectionCheck, verify
from mrag_pipeline.stages.ingest.verify_items import Verifier, collections_of_plan
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.row_items import RowChecker
from mrag_pipeline.stages.versions.stored_rows import staged_chunks

SILENT = LogProgress(lambda _: None)
FIGURES = Path(__file__).parent / "figures" / "scale_phases.json"
SHAPE = Shape()
ROUNDS = 3
AIM, AIM_MB = 1.7, 600.0


class FileIndex(ExactIndex):
    """An index whose collections are files: memory-mapped, so workers share the pages."""

    def __init__(self, folder: Path, index: str) -> None:
        super().__init__(index)
        self._folder = folder
        self._open: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._texts: dict[int, tuple[ChunkRow, str]] = {}

    def capabilities(self) -> Any:
        """As of a server whose searches are approximate: rows are looked at, not rankings."""
        return replace(super().capabilities(), searches_exactly=False, is_shared=True)

    def fill(self, manifest: Manifest, staging: Staging) -> None:
        """Writes the files from staging."""
        self._folder.mkdir()
        heads = manifest.encoder.heads
        for number, collection in enumerate(collections_of_plan(manifest)):
            ids, vectors = [], []
            for shard in manifest.shards:
                table = (
                    staging.head(shard.index, heads[number])
                    if number < len(heads)
                    else staging.chunks(shard.index)
                )
                ids.append(table["chunk_id"].to_numpy())
                rows = vector_matrix(table["vector"]).astype(np.float32)
                vectors.append(rows.reshape(len(table), collection.dim))
                if number == len(heads):
                    proofs = table[PROOF].to_pylist()
                    lines = zip(map(_row, staged_chunks(table)), proofs, strict=True)
                    file = self._folder / f"rows-{shard.index}"
                    file.write_bytes(pickle.dumps(list(lines)))
            order = np.argsort(np.concatenate(ids))
            np.save(self._folder / f"{collection.name}.ids.npy", np.concatenate(ids)[order])
            np.save(self._folder / f"{collection.name}.npy", np.concatenate(vectors)[order])

    def count(self, collection: str) -> int:
        """Its rows."""
        return len(self._of(collection)[0])

    def damage(self, collection: str) -> None:  # the port's
        """None: files are whole."""

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """All at once."""
        yield np.array(self._of(collection)[0])

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """By binary search."""
        known, vectors = self._of(collection)
        places = np.searchsorted(known, ids)
        return dict(zip(ids, np.array(vectors[places]), strict=True))

    def search(self, requests: Sequence[Any]) -> list[Ranking]:
        """Exact, over the whole file."""
        answers = []
        for request in requests:
            assert isinstance(request, SearchRequest)
            hits = top_k(*self._of(request.collection), request.vectors, request.limit)
            answers.append(Ranking(hits.ids, hits.scores))
        return answers

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:  # noqa: ARG002
        """Rows that were read with the first call."""
        rows = self._all_rows()
        return {chunk_id: rows[chunk_id][0] for chunk_id in ids}

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:  # noqa: ARG002
        """The same."""
        rows = self._all_rows()
        return {chunk_id: rows[chunk_id][1] for chunk_id in ids}

    def marks(self, collection: str) -> Iterator[Sequence[Mark]]:  # noqa: ARG002  # the port's
        """One file at a time: nothing is kept of it."""
        for file in self._folder.glob("rows-*"):
            rows = pickle.loads(file.read_bytes())
            yield [Mark(row.id, row.document_id, row.fingerprint) for row, _ in rows]

    def warm(self) -> None:
        """Reads what later calls need."""
        self._all_rows()

    def _all_rows(self) -> dict[int, tuple[ChunkRow, str]]:
        if not self._texts:
            for file in self._folder.glob("rows-*"):
                rows = pickle.loads(file.read_bytes())
                self._texts |= {row.id: (row, proof) for row, proof in rows}
        return self._texts

    def _of(self, collection: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if collection not in self._open:
            named = self._folder / collection
            self._open[collection] = (
                np.load(f"{named}.ids.npy", mmap_mode="r"),
                np.load(f"{named}.npy", mmap_mode="r"),
            )
        return self._open[collection]


def _row(chunk: Chunk) -> ChunkRow:
    return ChunkRow(
        chunk.id,
        chunk.document_id,
        chunk.ordinal,
        chunk.start,
        chunk.end,
        chunk.title,
        chunk.text,
        chunk.metadata,
        chunk.fingerprint,
    )


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Open everything, and wait until so many workers have."""

    index: int
    folder: str
    count: int
    num_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Does a phase's items, and warms up."""

    inner: Work

    def __call__(self, item: Any) -> Any:
        """The inner work's answer."""
        if not isinstance(item, WarmUp):
            return self.inner(item)
        if isinstance(self.inner, RowChecker):
            assert isinstance(self.inner.index, FileIndex)
            self.inner.index.warm()
        Path(item.folder, str(os.getpid())).touch()
        while len(list(Path(item.folder).iterdir())) < item.count:
            time.sleep(0.01)
        return None


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
    return Opened(Reconciler(version.manifest, version.staging(), threads=1))


def open_verifier(version: Version, config: Config) -> Opened:
    """A worker's work; one thread."""
    made = Verifier(version.manifest, version.staging(), version.index(), config.ingest, threads=1)
    return Opened(made)


def open_checker(version: Version, record: VersionRecord, _config: Config) -> Opened:
    """A worker's work."""
    return Opened(RowChecker(record, version.index(), None))


@dataclass
class Pools:
    """Opens pools of warm workers, and knows how long that took."""

    config: Config
    count: int
    open_work: Callable[[Config], Work]
    opening_s: float = 0.0

    def __call__(self, _work: Work, _num_bytes: int) -> RayPool:
        """A pool whose workers have opened what they need."""
        began = time.monotonic()
        workers = replace(self.config.workers, count=self.count)
        config = self.config.model_copy(update={"workers": workers})
        pool = RayPool(config, self.open_work, unit="item", repeats_errors=False)
        with tempfile.TemporaryDirectory() as folder:
            list(pool.run([WarmUp(number, folder, self.count) for number in range(self.count)]))
        self.opening_s = time.monotonic() - began
        return pool


def staged(folder: Path, num_chunks: int) -> Version:
    """Embeds and stages a corpus of so many chunks, and writes its index."""
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
        SyntheticEncoder(SHAPE),
        LineSegmenter(),
        partial(wiring.staging, config),
        None,
    )
    version = Version(config, str(folder), made.manifest)
    staging = version.staging()
    staging.write_manifest(made.manifest)
    work = embed_work(made.manifest, partial(open_synthetic, SHAPE))
    embed(made.manifest, staging, lambda: RayPool(config, work), config.ingest, SILENT)
    return version


def run_phases(version: Version, count: int) -> tuple[dict[str, float], object]:
    """Seconds of each phase on so many workers, and what they found, to be compared."""
    manifest, staging, index = version.manifest, version.staging(), version.index()
    seconds: dict[str, float] = {}

    def timed(name: str, open_work: Callable[[Config], Work], run: Callable[[Pools], Any]) -> Any:
        pools = Pools(version.config, count, open_work)
        began = time.monotonic()
        found = run(pools)
        seconds[name] = time.monotonic() - began - pools.opening_s
        return found

    counts: StagedCounts = timed(
        "reconcile",
        partial(open_reconciler, version),
        lambda pools: reconcile(manifest, staging, version.config.ingest, SILENT, pools),
    )
    if not Path(version.folder, "index").exists():
        index.fill(manifest, staging)
    checks: list[CollectionCheck] = timed(
        "verify",
        partial(open_verifier, version),
        lambda pools: verify(
            manifest, staging, index, counts.num_chunks, version.config.ingest, SILENT, pools
        ),
    )
    record = keep_ready(manifest, counts, index, checks)
    report = timed(
        "audit",
        partial(open_checker, version, record),
        lambda pools: audit(record, None, index, SILENT, pools),
    )
    assert report.findings == (), report.findings
    return seconds, (counts.num_chunks, counts.sums.unit_sum.tobytes(), checks, report)


def measure(num_chunks: int) -> dict[str, dict[str, float | str]]:
    """The phases with one worker and with two, in turns."""
    figures: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        version = staged(Path(folder), num_chunks)
        _, expected = run_phases(version, 2)  # and files are in the page cache
        taken: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for count, own in taken.items():
                seconds, found = run_phases(version, count)
                assert found == expected, "another result"
                own.append(seconds)
    for phase in taken[1][0]:
        alone = [seconds[phase] for seconds in taken[1]]
        ratios = [one[phase] / two[phase] for one, two in zip(taken[1], taken[2], strict=True)]
        figures[f"{phase}, 1 worker, {num_chunks:,} chunks"] = _figure(alone, "s")
        figures[f"{phase}, 1 to 2 workers"] = _figure(ratios, "times")
        print(
            f"{phase:10} 1 worker {statistics.median(alone):6.2f} s, 2 workers "
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to "
            f"{max(ratios):.2f}; aim {AIM})",
            flush=True,
        )
    return figures


def _figure(values: Sequence[float], unit: str) -> dict[str, float | str]:
    return {
        "value": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
        "unit": unit,
    }


def memory_of(num_chunks: int) -> None:
    """Prints this process's peak after each phase, in MB."""
    library_settings.settle()
    start_local()
    with tempfile.TemporaryDirectory() as folder:
        version = staged(Path(folder), num_chunks)
        run_phases(version, 2)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000))


def main() -> None:
    """Measures both, prints, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chunks", type=int, default=30_000)
    parser.add_argument("--memory-chunks", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--driver", type=int, help="measure this driver's memory alone")
    args = parser.parse_args()
    if args.driver:
        memory_of(args.driver)
        return
    library_settings.settle()
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if args.chunks:
        start_local()
        figures |= measure(args.chunks)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    for num_chunks in args.memory_chunks:
        command = [sys.executable, __file__, "--driver", str(num_chunks)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = float(output.strip().splitlines()[-1])
        figures[f"driver, {num_chunks:,} chunks"] = _figure([peak], "MB")
        print(f"driver's memory at {num_chunks:,} chunks: {peak:.0f} MB (aim {AIM_MB:.0f})")
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
