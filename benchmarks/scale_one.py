"""Measures one size of `scale.py` in a process of its own, so that its memory is not shared.

    python benchmarks/scale_one.py --corpus FILE --folder DIR [--backend server|lite]
    python benchmarks/scale_one.py --corpus URL --query TABLE --change SQL --folder DIR

Runs every phase of an ingest by the product's own stages, on Ray actors where the product has them;
only the model, the tokenizer and Prefect are left out. With `--change`, a statement of SQL is run
in the corpus afterwards, and a sync brings it in, by this process alone. Prints one JSON object: by
phase the seconds, the peak memory of the driver, of a worker and of the server, and the requests to
staging of the driver and, but for embed, of workers; bytes on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[1]))

from counted_requests import Requests, counted_work
from scale_change import run_statement, sync_change
from synthetic import LineSegmenter, Shape, SyntheticEncoder, open_synthetic, questions
from watched_phases import Phases

from mrag_pipeline import library_settings
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, Staging, VectorIndex
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.pools import load_pools, phase_pools
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.staging.shards import open_staging
from mrag_pipeline.wiring import request
from mrag_pipeline.wiring.phase_work import loader, reconciler, verifier
from tests.support.milvus_server import ONE_A_HOST, Server

SILENT = LogProgress(lambda _: None)
UPDATED = "updated_at"  # a table's column with the time of a row's last change
QUESTIONS = 20
WINDOWS = 8
HITS = 64  # of each ranking, the default of a query


def main() -> None:
    """Prints the figures as JSON."""
    options = _arguments()
    library_settings.settle()
    # Ray's workers import this folder's modules too.
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], str(Path(__file__).parent)])
    folder = Path(options.folder)
    asked = Requests(folder)
    shape = Shape(options.heads, options.dim)
    with ExitStack() as held:
        uri, process, data = str(folder / "index.db"), None, folder / "index.db"
        if options.backend == "server":
            data = folder / "milvus"
            held.enter_context(FileLock(ONE_A_HOST))
            # On a busy machine a component may not report for longer than the tests' 5 s.
            server = Server(data, None, **{"common.session.ttl": 60})
            server.start()
            held.callback(server.kill)
            uri, process = server.uri, psutil.Process(server.pid)
        runs = [
            _run(options, shape, folder, Phases(process, asked), uri, number)
            for number in range(options.repeats)
        ]
        result = runs[0]
        for phase in result["seconds"]:
            every = [run["seconds"][phase] for run in runs]
            result["seconds"][phase] = statistics.median(every)
        result["disk_bytes"]["index"] = _num_bytes(data)
        result["repeats"] = options.repeats
    print(json.dumps(result))


def _run(
    options: Any, shape: Shape, folder: Path, phases: Phases, uri: str, number: int
) -> dict[str, Any]:
    config = Config.parse(
        {
            "index": f"scale{number}",
            "corpus": _corpus(options),
            "chunking": {"title": "none"},
            "workers": {"count": options.workers},
            "staging": {"uri": str(folder / "staging")},
            "milvus": {"uri": uri, "index_type": options.index_type},
            "ingest": {"min_recall": 1.0 if options.index_type == "FLAT" else 0.0},
        }
    )
    encoder = SyntheticEncoder(shape)
    with closing(open_index(config.milvus, config.index)) as index, phases.watched():
        manifest, staging = phases.run("plan", partial(_plan, config, encoder, index))
        phases.run("embed", partial(_embed, config, shape, manifest, staging, folder))
        # The start of Ray's processes and the actors' imports are not part of the phase.
        ready = min(float(path.read_text()) for path in folder.glob("ready-*"))
        phases.seconds["start of actors"] = max(0.0, ready - _BEGUN[-1])
        phases.seconds["embed"] -= phases.seconds["start of actors"]
        # Opened again, as the flow does: the next task has no receipts in memory.
        version = manifest.version
        staging = open_staging(config.staging, config.index, version)
        reconcilers, loaders, verifiers = (
            partial(counted_work, folder, partial(opened, version))
            for opened in (reconciler, loader, verifier)
        )
        pools = phase_pools(config, reconcilers)
        staged = phases.run(
            "reconcile", lambda: reconcile(manifest, staging, config.ingest, SILENT, pools)
        )
        chunks = staged.num_chunks
        pools = load_pools(config, loaders, index)
        range_bytes = config.milvus.range_mb * 1e6
        phases.run(
            "load", lambda: load(manifest, staging, index, chunks, SILENT, pools, range_bytes)
        )
        pools = phase_pools(config, verifiers, index.capabilities().is_shared)
        checks = phases.run(
            "verify", lambda: verify(manifest, staging, index, chunks, config.ingest, SILENT, pools)
        )
        phases.run("publish", lambda: publish(manifest, staged, index))
        search = phases.run("search", lambda: _search(index, manifest, shape))
        synced = None
        if options.change:
            run_statement(options.corpus, options.change)
            synced = phases.run("sync", lambda: sync_change(config, shape, index))
    return {
        "chunks": chunks,
        "shards": len(manifest.shards),
        "heads": shape.heads,
        "dim": shape.dim,
        "backend": options.backend,
        "index_type": options.index_type,
        "workers": options.workers,
        "seconds": phases.seconds,
        "memory_mb": phases.memory_mb,
        "requests": phases.requests,
        "search_ms": search,
        "recall": min(check.recall for check in checks),
        "synced_chunks": synced,
        "disk_bytes": {
            "corpus": 0 if options.query else Path(options.corpus).stat().st_size,
            "staging": _num_bytes(folder / "staging" / config.index),
        },
        "files": sum(path.is_file() for path in (folder / "staging" / config.index).rglob("*")),
    }


def _corpus(options: argparse.Namespace) -> dict[str, str]:
    if not options.query:
        return {"uri": options.corpus}
    return {"uri": options.corpus, "query": options.query, "updated_field": UPDATED}


_BEGUN: list[float] = []


def _plan(
    config: Config, encoder: SyntheticEncoder, index: VectorIndex
) -> tuple[Manifest, Staging]:
    opener = partial(open_staging, config.staging, config.index)
    reader = open_corpus(config.corpus)
    made = plan(request(config), reader, encoder, LineSegmenter(), opener, index)
    staging = opener(made.manifest.version)
    staging.write_manifest(made.manifest)
    return made.manifest, staging


def _embed(
    config: Config, shape: Shape, manifest: Manifest, staging: Staging, folder: Path
) -> None:
    for old in folder.glob("ready-*"):
        old.unlink()
    _BEGUN.append(time.time())
    opener = partial(_opened, shape, folder)
    embed(
        manifest,
        staging,
        lambda: RayPool(config, embed_work(manifest, opener)),
        config.ingest,
        SILENT,
    )


def _opened(shape: Shape, folder: Path, config: Config, version: str, fingerprint: str) -> Any:
    embedder = open_synthetic(shape, config, version, fingerprint)
    (folder / f"ready-{os.getpid()}").write_text(str(time.time()))
    return embedder


def _search(index: VectorIndex, manifest: Manifest, shape: Shape) -> dict[str, float]:
    """Median milliseconds of a query's searches in all heads, by number of windows."""
    heads = [one for one in collections_of(manifest) if one.kind == "head"]
    medians_ms = {}
    for windows in (1, WINDOWS):
        spent = []
        for vectors in questions(shape, QUESTIONS, windows):
            requests = [
                SearchRequest(collection.name, np.ascontiguousarray(vectors[number]), HITS)
                for number, collection in enumerate(heads)
            ]
            started = time.perf_counter()
            index.search(requests)
            spent.append((time.perf_counter() - started) * 1e3)
        medians_ms[str(windows)] = statistics.median(spent)
    return medians_ms


def _num_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the server removes merged segments
            total += path.stat().st_size if path.is_file() else 0
    return total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--query", default="", help=f"a table with a column {UPDATED}")
    parser.add_argument("--change", default="", help="SQL that changes it")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--backend", choices=("server", "lite"), default="server")
    parser.add_argument("--index-type", default="FLAT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
