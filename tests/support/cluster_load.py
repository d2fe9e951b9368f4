"""Loads a version into a real Milvus server by workers on a Ray cluster: to be cut off in between.

`python -m tests.support.milvus_server python -m tests.support.cluster_load FOLDER ADDRESS` starts
the server on this machine and loads twice, whole collections and then ranges of them. The last line
is what came of it, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.runtime.pools import load_pools
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.wiring.phase_work import loader
from tests.support.builds import InlinePool, RecordingProgress
from tests.support.cluster_ingest import config_of, node, open_slow
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.milvus_server import SERVER

# Collections with more bytes are filled in ranges.
WAYS = {"whole": inf, "ranges": 1_000.0}
SECONDS = 1.0  # after each block of rows


@dataclass(frozen=True, slots=True)
class Noted:
    """Does an item, and notes on which node it was begun."""

    inner: Callable[[Any], Any]
    notes: Path

    def __call__(self, item: Any) -> Any:
        """The other's answer."""
        note(self.notes, f"{type(item).__name__}-{item.index}")
        return self.inner(item)


def note(notes: Path, what: str) -> None:
    """Writes down what this node does."""
    (notes / f"{what}.{time.time_ns()}.{uuid.uuid4().hex[:8]}").write_text(node())


def open_slow_loader(version: str, notes: Path, config: Config) -> Noted:
    """A worker's loader, which takes its time between blocks of rows: it is cut off there."""

    def inserted(_rows: int) -> None:
        note(notes, "inserted")
        time.sleep(SECONDS)

    return Noted(replace(loader(version, config), advance=inserted), notes)


def notes_of(folder: Path, way: str) -> dict[str, list[str]]:
    """By what was done, the nodes that did it, in order."""
    found: dict[str, list[str]] = {}
    notes = folder / "notes" / way
    for file in sorted(notes.iterdir(), key=lambda one: one.name.split(".")[1]):
        found.setdefault(file.name.partition(".")[0], []).append(file.read_text())
    return found


def main(folder: Path, address: str) -> None:
    """On the cluster; the project of `cluster_ingest` is there."""
    host = address.partition(":")[0]
    settings = config_of(folder, address, count=3, phase_mb=0.0).to_dict()
    config = Config.parse(
        settings
        | {"lexical": {"enabled": False}, "milvus": {"uri": SERVER.replace("127.0.0.1", host)}}
    )
    with closing(wiring.index(config)) as index:
        manifest = plan(
            wiring.request(config),
            wiring.reader(config),
            FakeEncoder(),
            FakeSegmenter(config.chunking),
            lambda version: wiring.staging(config, version),
            index,
        ).manifest
        version, spec = manifest.version, config.ingest
        staging = wiring.staging(config, version)
        staging.write_manifest(manifest)
        embedder = open_slow(folder, 0.0, config, version, manifest.fingerprint)
        embed(manifest, staging, lambda: InlinePool(embedder), spec, RecordingProgress())  # type: ignore[arg-type]
        counts = reconcile(manifest, staging, spec, RecordingProgress())
        came = {}
        for way, range_bytes in WAYS.items():
            for name in index.collections():
                index.drop(name)
            pools = load_pools(
                config, partial(open_slow_loader, version, folder / "notes" / way), index
            )
            num_chunks = counts.num_chunks
            load(manifest, staging, index, num_chunks, RecordingProgress(), pools, range_bytes)
            checks = verify(manifest, staging, index, num_chunks, spec, RecordingProgress())
            record = keep_ready(manifest, counts, index, checks)
            report = audit(record, None, index, RecordingProgress())
            rows = [index.count(name) for name in record.collections()]
            came[way] = {
                "findings": [repr(one) for one in report.findings],
                "wrong": [one for one in rows if one != num_chunks],
            }
            index.drop_record(version)
    print(json.dumps(came), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
