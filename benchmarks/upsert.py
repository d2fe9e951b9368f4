"""Cost of pushing 10 documents into a small and a large index: `python benchmarks/upsert.py`.

    python benchmarks/upsert.py [--backend server|lite] [--chunks 1000 200000] [--rounds 15]

Builds one index of each size on the same Milvus by the product's stages, with a synthetic encoder.
Then pushes 10 documents, half of them new and half changed, into each in turn: what `mrag upsert`
does under its lock, from opening the index to the record's last write. The start of Prefect and
the load of a model are left out: they are the same for both.

Prints the figures and writes figures/upsert.json: {name: {value, low, high, unit}}. Seconds are
medians, the ratio is that of the same round's pushes; low and high are 95% bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from synthetic import CHUNKS_PER_DOCUMENT, LineSegmenter, Shape, SyntheticEncoder, write_corpus

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import CorpusReader, Staging
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.stages.sync.apply import apply, finish
from mrag_pipeline.stages.sync.push import Changes, compare_push
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring import at_work
from tests.support.milvus_server import ONE_A_HOST, Server

SILENT = LogProgress(lambda _: None)
FIGURES = Path(__file__).parent / "figures" / "upsert.json"
DOCUMENTS = 10
SHAPE = Shape()
ENCODER = SyntheticEncoder(SHAPE)
_RESAMPLES = 2_000


def build(config: Config) -> int:
    """Builds a live version of the config's corpus; returns its chunks."""
    with closing(wiring.index(config)) as index:
        made = plan(
            wiring.request(config),
            open_corpus(config.corpus),
            ENCODER,
            LineSegmenter(),
            partial(wiring.staging, config),
            index,
        )
        manifest = made.manifest
        staging = wiring.staging(config, manifest.version)
        staging.write_manifest(manifest)
        _embed(config, manifest, staging, open_corpus(config.corpus))
        staged = reconcile(manifest, staging, config.ingest, SILENT)
        load(manifest, staging, index, staged.num_chunks, SILENT)
        return publish(manifest, staged, index).num_chunks


def push(config: Config, documents: Path) -> float:
    """Pushes the file's documents; returns the seconds it took."""
    started = time.perf_counter()
    with at_work.run_lock(config), closing(wiring.index(config)) as index:
        record = live_record(index)
        delta = wiring.delta(config, record.version, record.syncs + 1)
        record, _ = finish(record, delta, index, config.ingest, SILENT)
        changes = Changes(open_corpus(CorpusSpec(str(documents)), record.reading()))
        pushed = compare_push(record, changes, index, delta, config.ingest, SILENT)
        manifest = pushed.compared.manifest
        assert manifest is not None
        _embed(config, manifest, delta, delta.reader())
        applied = apply(record, manifest, delta, index, None, config.ingest, SILENT)
    seconds = time.perf_counter() - started
    assert applied.chunks_added == DOCUMENTS * CHUNKS_PER_DOCUMENT
    assert applied.chunks_removed == applied.chunks_added // 2
    return seconds


def write_changes(path: Path, number: int) -> None:
    """Ten documents as JSON Lines: five that every corpus here has, and five new ones."""
    with path.open("w") as file:
        for row in range(DOCUMENTS):
            half = DOCUMENTS // 2
            own = f"document-{row:09d}" if row < half else f"new-{number}-{row}"
            lines = [f"push {number}, line {line} of {own}" for line in range(CHUNKS_PER_DOCUMENT)]
            file.write(json.dumps({"id": own, "text": "\n".join(lines), "year": 2000}) + "\n")


def _embed(config: Config, manifest: Manifest, staging: Staging, reader: CorpusReader) -> None:
    def embedder(config: Config, _version: str, fingerprint: str) -> ShardEmbedder:
        return ShardEmbedder(
            reader=reader,
            encoder=ENCODER,
            segmenter=LineSegmenter(),
            staging=staging,
            chunking=config.chunking,
            fingerprint=fingerprint,
        )

    embed(manifest, staging, lambda: serial_pool(config, manifest, embedder), config.ingest, SILENT)


def _interval(values: NDArray[np.float64], unit: str) -> dict[str, float | str]:
    """The median and its 95% bootstrap interval."""
    random = np.random.default_rng(5)
    medians = np.median(random.choice(values, (_RESAMPLES, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975]).tolist()
    named = {"value": float(np.median(values)), "low": low, "high": high}
    return {name: round(value, 4) for name, value in named.items()} | {"unit": unit}


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("server", "lite"), default="server")
    parser.add_argument("--chunks", type=int, nargs=2, default=(1_000, 200_000))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    library_settings.settle()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        uri = str(folder / "index.db")
        if options.backend == "server":
            held.enter_context(FileLock(ONE_A_HOST))
            server = Server(folder / "milvus", None, **{"common.session.ttl": 60})
            server.start()
            held.callback(server.kill)
            uri = server.uri
        configs = []
        for num_chunks in options.chunks:
            corpus = folder / f"{num_chunks}.jsonl"
            write_corpus(corpus, num_chunks)
            parsed = Config.parse(
                {
                    "index": f"of{num_chunks}",
                    "corpus": {"uri": str(corpus)},
                    "chunking": {"title": "none"},
                    "staging": {"uri": str(folder / "staging")},
                    "milvus": {"uri": uri},
                }
            )
            started = time.perf_counter()
            built = build(parsed)
            print(f"{built:,} chunks built in {time.perf_counter() - started:.0f} s", flush=True)
            configs.append(parsed)
        seconds = np.zeros((options.rounds + 1, 2))
        for number in range(len(seconds)):
            write_changes(folder / "changes.jsonl", number)
            for column, config in enumerate(configs):
                seconds[number, column] = push(config, folder / "changes.jsonl")
            print(f"round {number}: {seconds[number].round(3).tolist()} s", flush=True)
    small, large = seconds[1:].T  # the first round warms up
    figures = {
        f"{options.backend}: {DOCUMENTS} documents into {num_chunks:,} chunks": _interval(of, "s")
        for num_chunks, of in zip(options.chunks, (small, large), strict=True)
    }
    name = f"{options.backend}: {options.chunks[1]:,} chunks over {options.chunks[0]:,}"
    figures[name] = _interval(large / small, "ratio")
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | figures, indent=1) + "\n")
    for name, figure in figures.items():
        unit = "x" if figure["unit"] == "ratio" else figure["unit"]
        print(f"{name}: {figure['value']} {unit} ({figure['low']} to {figure['high']})")


if __name__ == "__main__":
    main()
