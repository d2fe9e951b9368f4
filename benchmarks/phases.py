"""What a second worker is worth after embedding: reconcile, verify and audit by items.

    python benchmarks/phases.py [--chunks N] [--memory-chunks N ...]

One worker and two, in turns, on the same staged files and on an index that answers from files, so
that no store is the limit; each worker has one thread. Their start and their opening of the index
are left out. Then the driver's memory with two workers, by number of chunks, each in a process of
its own. Only the model is left out (`synthetic.py`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import figure
from file_index import FileIndex
from synthetic import LineSegmenter, Shape, SyntheticEncoder, open_synthetic, write_corpus

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Staging, Work
from mrag_pipeline.runtime.cluster import start_local
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.reconcile_items import Reconciler
from mrag_pipeline.stages.ingest.verify import CollectionCheck, verify
from mrag_pipeline.stages.ingest.verify_items import Verifier
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.row_items import RowChecker

SILENT = LogProgress(lambda _: None)
FIGURES = Path(__file__).parent / "figures" / "scale_phases.json"
SHAPE = Shape()
ROUNDS = 3
AIM, AIM_MB = 1.7, 600.0


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


def fill(version: Version) -> None:
    """Writes the files of the version's index."""
    version.index().fill(version.manifest, version.staging())


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
        # In another process: the driver's memory is measured, not that of filling an index.
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(version,))
        filling.start()
        filling.join()
        assert filling.exitcode == 0
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
        figures[f"{phase}, 1 worker, {num_chunks:,} chunks"] = figure(alone, "s")
        figures[f"{phase}, 1 to 2 workers"] = figure(ratios, "times")
        print(
            f"{phase:10} 1 worker {statistics.median(alone):6.2f} s, 2 workers "
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to "
            f"{max(ratios):.2f}; aim {AIM})",
            flush=True,
        )
    return figures


def memory_of(num_chunks: int) -> None:
    """Prints this process's peak after each phase, in MB."""
    library_settings.settle()
    start_local()
    with tempfile.TemporaryDirectory() as folder:
        version = staged(Path(folder), num_chunks)
        run_phases(version, 2)
    print(json.dumps(_peak_mb()))


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
        figures[f"driver, {num_chunks:,} chunks"] = figure([peak], "MB")
        print(f"driver's memory at {num_chunks:,} chunks: {peak:.0f} MB (aim {AIM_MB:.0f})")
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def _peak_mb() -> float:
    """The highest resident memory; `ru_maxrss` would count the parent's at the fork."""
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1_024 / 1e6


if __name__ == "__main__":
    main()
