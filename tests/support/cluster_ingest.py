"""An ingest on a Ray cluster whose shards take a while: to be killed, cut off and counted.

Real corpus, pool and staging; a fake encoder, so that a shard takes as long as the test says and
every machine computes the same bits; exact search for an index.
`python -m tests.support.cluster_ingest FOLDER ADDRESS` runs it on a cluster as a process of its
own, prints a line for each receipt and at last what came of it as JSON.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import WorkerPool
from mrag_pipeline.runtime.embedder import Embedder, embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.serial_pool import SerialPool
from tests.support.builds import RecordingProgress
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import content_of

SHARDS = 30
SECONDS = 0.5  # a shard
_WORDS = [
    *("river", "violin", "engine", "bakery", "glacier"),
    *("market", "lantern", "library", "orchard", "harbour"),
]


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a run."""

    shards: int  # that the run counted
    reused: int
    chunks: int
    content: dict[str, str]  # the index: of each collection the sha256 of all its rows
    tries: dict[str, list[str]]  # of each shard, the nodes that began it, in order


def write_project(folder: Path) -> None:
    """A corpus of 30 shards, each of four documents, and where they are staged."""
    folder.mkdir(exist_ok=True)
    (folder / "tries").mkdir(exist_ok=True)
    words = [*_WORDS, *(f"{a}{b}" for a in _WORDS for b in _WORDS)]
    with (folder / "corpus.jsonl").open("w") as file:
        for number in range(4 * SHARDS):
            text = " ".join(words[(number * 7 + i * i) % len(words)] for i in range(24))
            row = {"id": f"d{number:03d}", "text": text[:100].ljust(100, ".")}
            file.write(json.dumps(row) + "\n")


def config_of(folder: Path, address: str = "", **workers: object) -> Config:
    line_bytes = (folder / "corpus.jsonl").stat().st_size // (4 * SHARDS)
    return Config.parse(
        {
            "corpus": {"uri": str(folder / "corpus.jsonl")},
            "chunking": {"max_tokens": 8},
            "sharding": {"shard_mb": 4 * line_bytes / 1e6},
            "staging": {"uri": str(folder / "staging")},
            "workers": {"address": address, "device": "cpu", "late_factor": 0, **workers},
            "ingest": {"verify_sample": 4},
        }
    )


class SlowEmbedder:
    """Embeds a shard, taking its time, and notes on which node it was begun."""

    def __init__(self, inner: ShardEmbedder, folder: Path, seconds: float) -> None:
        self._inner = inner
        self._folder = folder
        self._seconds = seconds

    def embed(self, shard: Shard) -> Receipt:
        found = self._inner.staging.receipt(shard.index, self._inner.fingerprint)
        if found is None:
            name = f"{shard.index:05d}.{time.time_ns()}.{uuid.uuid4().hex[:8]}"
            (self._folder / "tries" / name).write_text(node())
            time.sleep(self._seconds)
        return self._inner.embed(shard)


def open_slow(
    folder: Path, seconds: float, config: Config, version: str, fingerprint: str
) -> Embedder:
    """To be bound to its folder and seconds with functools.partial."""
    return SlowEmbedder(
        ShardEmbedder(
            reader=wiring.reader(config),
            encoder=FakeEncoder(),
            segmenter=FakeSegmenter(config.chunking),
            staging=wiring.staging(config, version),
            chunking=config.chunking,
            fingerprint=fingerprint,
        ),
        folder,
        seconds,
    )


def node() -> str:
    """The address and id of the node that this process is on."""
    import ray

    if not ray.is_initialized():
        return "here"
    return f"{ray.util.get_node_ip_address()} {ray.get_runtime_context().get_node_id()}"


def ingest(
    folder: Path, config: Config, seconds: float, on_receipt: Callable[[int], None] = lambda _: None
) -> Came:
    """Plan, embed, load, verify, publish; `on_receipt` is told how many receipts there are."""
    index = ExactIndex(config.index)
    encoder, segmenter = FakeEncoder(), FakeSegmenter(config.chunking)
    made = plan(
        wiring.request(config),
        wiring.reader(config),
        encoder,
        segmenter,
        lambda version: wiring.staging(config, version),
        index,
    )
    manifest, progress = made.manifest, RecordingProgress()
    staging = wiring.staging(config, manifest.version)
    staging.write_manifest(manifest)
    opener = functools.partial(open_slow, folder, seconds)
    work = embed_work(manifest, opener)

    def watched() -> WorkerPool[Shard, Receipt]:
        if config.workers.pool == "serial":
            return Watched(SerialPool(lambda: work(config), config.workers.attempts), on_receipt)
        return Watched(RayPool(config, work), on_receipt)

    totals = embed(manifest, staging, watched, config.ingest, progress)
    staged = reconcile(manifest, staging, IngestSpec(), progress)
    load(manifest, staging, index, staged.num_chunks, progress)
    verify(manifest, staging, index, staged.num_chunks, config.ingest, progress)
    publish(manifest, staged, index)
    return Came(
        totals.shards, totals.reused_shards, staged.num_chunks, _digests(index), tries_of(folder)
    )


class Watched:
    """A pool whose answers are counted as they come."""

    def __init__(self, inner: WorkerPool[Any, Any], on_answer: Callable[[int], None]) -> None:
        self._inner = inner
        self._on_answer = on_answer

    def describe(self) -> str:
        return self._inner.describe()

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        for number, answer in enumerate(self._inner.run(items), 1):
            self._on_answer(number)
            yield answer

    def close(self) -> None:
        self._inner.close()


def _digests(index: ExactIndex) -> dict[str, str]:
    return {
        name: hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()
        for name, rows in content_of(index).items()
    }


def tries_of(folder: Path) -> dict[str, list[str]]:
    """Of each shard, the nodes that began it, in order."""
    found: dict[str, list[str]] = {}
    for file in sorted((folder / "tries").iterdir()):
        found.setdefault(file.name.partition(".")[0], []).append(file.read_text())
    return found


def undisturbed(folder: Path) -> Came:
    """What a run in one process gives."""
    write_project(folder)
    return ingest(folder, config_of(folder, pool="serial"), 0.0)


def say(number: int) -> None:
    print(f"receipt {number}", flush=True)


def main(folder: Path, address: str) -> None:
    """On the cluster; the project is there. `simulated`: on one that is started here."""
    if address == "simulated":
        came = on_simulated_nodes(folder)
    else:
        came = ingest(folder, config_of(folder, address, count=3), SECONDS, say)
    print(json.dumps(asdict(came)), flush=True)


def on_simulated_nodes(folder: Path) -> Came:
    """Three of one CPU each; the second goes at the eighth receipt."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second, _ = (cluster.add_node(num_cpus=1) for _ in range(2))

    def lose(number: int) -> None:
        say(number)
        if number == 8:
            cluster.remove_node(second, allow_graceful=False)

    try:
        came = ingest(folder, config_of(folder, cluster.address, count=3), SECONDS, lose)
        print(f"lost {second.node_id}", flush=True)
        return came
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
