"""The phases after embedding on a Ray cluster, item by item: to be cut off in each of them.

Real staging, pool and items; an exact index that reaches workers as a file, so it is only read.
`python -m tests.support.cluster_phases FOLDER ADDRESS` runs them on a cluster, prints a line for
each answer of a phase, and at last as JSON what came of it.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import OpenPool, Work, WorkerPool
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.ingest import verify_items
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sync import compare_items, item_comparison
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from mrag_pipeline.stages.versions import row_items
from mrag_pipeline.stages.versions.audit import audit
from tests.support.builds import InlinePool, RecordingProgress
from tests.support.cluster_ingest import Watched, config_of, node, open_slow
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.phase_workers import DeltaOnDisk, StagingOnDisk

PHASES = ("reconcile", "verify", "audit", "compare")
SECONDS = 0.5  # an item

PoolsOf = Callable[[str], OpenPool]  # of a phase


@dataclass(frozen=True, slots=True)
class Slow:
    """Does an item, taking its time, and notes on which node it was begun."""

    inner: Callable[[Any], Any]
    notes: Path

    def __call__(self, item: Any) -> Any:
        """The other's answer."""
        which = f"{type(item).__name__}-{item.index}"
        name = f"{which}.{time.time_ns()}.{uuid.uuid4().hex[:8]}"
        (self.notes / name).write_text(node())
        time.sleep(SECONDS)
        return self.inner(item)


def run_phases(folder: Path, pools: PoolsOf) -> dict[str, Any]:
    """All phases on the corpus of `cluster_ingest.write_project`; what each of them found."""
    # The words' collection of an exact index cannot be sent.
    config = Config.parse(
        config_of(folder, pool="serial").to_dict() | {"lexical": {"enabled": False}}
    )
    index = ExactIndex(config.index)
    made = plan(
        wiring.request(config),
        wiring.reader(config),
        FakeEncoder(),
        FakeSegmenter(config.chunking),
        lambda version: wiring.staging(config, version),
        index,
    )
    manifest, spec = made.manifest, config.ingest
    staging = StagingOnDisk(config.staging.uri, config.index, manifest.version)
    staging.write_manifest(manifest)
    embedder = open_slow(folder, 0.0, config, manifest.version, manifest.fingerprint)
    embed(manifest, staging, lambda: InlinePool(embedder), spec, RecordingProgress())  # type: ignore[arg-type]
    counts = reconcile(manifest, staging, spec, RecordingProgress(), pools("reconcile"))
    load(manifest, staging, index, counts.num_chunks, RecordingProgress())
    checks = verify(
        manifest, staging, index, counts.num_chunks, spec, RecordingProgress(), pools("verify")
    )
    record = keep_ready(manifest, counts, index, checks)
    report = audit(record, None, index, RecordingProgress(), pools("audit"))
    reader = wiring.reader(config, record.reading())
    items = [item for piece in reader.slices(1 << 20) for item in reader.read([piece])]
    documents = [item for item in items if isinstance(item, Document)]
    others = [replace(document, title="Another") for document in documents[5:20]]
    compared = compare(
        record,
        FakeCorpusReader([*others, *documents[20:]]),
        index,
        DeltaOnDisk(config.staging.uri, config.index, manifest.version),
        SyncSpec(),
        spec,
        SyncScope(),
        RecordingProgress(),
        pools("compare"),
        is_shared=True,
    )
    assert compared.manifest is not None
    found = (counts.num_chunks, counts.sums.unit_sum.tobytes().hex(), compared.manifest.fingerprint)
    return {"found": repr((*found, checks, report, compared.difference))}


def undisturbed(folder: Path) -> dict[str, Any]:
    """What one process finds."""
    with small_items():
        return run_phases(folder, lambda _: in_this_process)


class small_items:  # noqa: N801  # a context, as of the standard library
    """As many items as a large corpus has, of a small one."""

    _SIZES = (
        (verify_items, "ITEM_BYTES", 1),
        (row_items, "BLOCK_ROWS", 12),
        (item_comparison, "ITEM_BYTES", 600),
        (compare_items, "MARKS_ROWS", 24),
    )

    def __enter__(self) -> None:
        self._before = [getattr(module, name) for module, name, _ in self._SIZES]
        self._set([size for _, _, size in self._SIZES])

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def _set(self, sizes: Sequence[int]) -> None:
        for (module, name, _), size in zip(self._SIZES, sizes, strict=True):
            setattr(module, name, size)


def cluster_pools(folder: Path, config: Config, phase: str) -> OpenPool:
    """Pools on the cluster; what a phase works with reaches workers as a file."""
    notes = folder / "notes" / phase
    notes.mkdir(parents=True)

    def opened(work: Work, _num_bytes: int) -> WorkerPool[Any, Any]:
        file = folder / f"{phase}.pickle"
        file.write_bytes(pickle.dumps(work))
        opener = partial(_open_slow_work, file, notes)
        pool = RayPool(config, opener, unit="item", repeats_errors=False)
        return Watched(pool, lambda number: print(f"{phase} {number}", flush=True))

    return opened


def _open_slow_work(file: Path, notes: Path, _config: Config) -> Slow:
    return Slow(pickle.loads(file.read_bytes()), notes)


def nodes_of(folder: Path, phase: str) -> list[str]:
    """The nodes that have begun an item of the phase, which may not have come yet."""
    notes = folder / "notes" / phase
    return [file.read_text() for file in notes.iterdir()] if notes.exists() else []


def begun(folder: Path, phase: str) -> dict[str, list[str]]:
    """Of each item of a phase, the nodes that began it, in order."""
    found: dict[str, list[str]] = {}
    for file in sorted((folder / "notes" / phase).iterdir()):
        found.setdefault(file.name.partition(".")[0], []).append(file.read_text())
    return found


def main(folder: Path, address: str) -> None:
    """On the cluster; the project is there."""
    config = config_of(folder, address, count=len(PHASES) + 1)
    with small_items():
        came = run_phases(folder, lambda phase: cluster_pools(folder, config, phase))
    print(json.dumps(came), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
