"""A build over fakes: every stage in order, with parts that tests can script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.errors import BadVectors, WorkerLost
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.stages.ingest.embed import EmbedTotals, embed
from mrag_pipeline.stages.ingest.plan import Plan, Request, plan
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.fake_staging import FakeStaging

CHUNKING = ChunkingSpec(max_tokens=8)
WORDS = [f"{first}{second}nder" for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u")]


def a_document(number: int, text: str = "") -> Document:
    """Twelve random words, fixed by `number`: two chunks of at most eight tokens."""
    random = np.random.default_rng(number)
    words = [str(random.choice(WORDS)) for _ in range(12)]
    return Document(f"d{number}", text or " ".join(words), source=f"corpus:{number}")


class CountingEncoder(FakeEncoder):
    """Records the texts it encodes; a text with the poison word fails its whole batch."""

    POISON = "poison"

    def __init__(self) -> None:
        super().__init__(num_heads=3)
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        self.texts += texts
        num_bad = sum(self.POISON in text for text in texts)
        if num_bad:
            raise BadVectors(f"{num_bad} of {len(texts)} texts have a bad vector")
        return super().encode(texts, role)


class RecordingProgress:
    """Records every call, for assertions."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int, str]] = []
        self.done: dict[str, int] = {}
        self.facts: dict[str, int] = {}
        self.notes: list[str] = []
        self.finished: list[str] = []

    def phase(self, name: str, total: int, unit: str) -> None:
        self.phases.append((name, total, unit))
        self.done[name] = 0

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        self.done[self.phases[-1][0]] += done
        for name, count in (facts or {}).items():
            self.facts[name] = self.facts.get(name, 0) + count

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finish(self) -> None:
        self.finished.append(self.phases[-1][0])


class InlinePool:
    """A worker pool in this process; after `dies_after` receipts it raises WorkerLost."""

    def __init__(self, embedder: ShardEmbedder, dies_after: int | None = None) -> None:
        self._embedder = embedder
        self._dies_after = dies_after
        self.closed = False

    def describe(self) -> str:
        return "a fake"

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        for number, shard in enumerate(shards):
            if number == self._dies_after:
                raise WorkerLost("the pool is gone")
            yield self._embedder.embed(shard)

    def close(self) -> None:
        self.closed = True


@dataclass
class Build:
    """A corpus on its way to an index."""

    items: Sequence[Document | DeadLetter]
    shard_bytes: int = 150  # about two documents
    spec: IngestSpec = field(default_factory=IngestSpec)
    staging: FakeStaging = field(default_factory=FakeStaging)
    encoder: CountingEncoder = field(default_factory=CountingEncoder)
    progress: RecordingProgress = field(default_factory=RecordingProgress)
    pools: list[InlinePool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = FakeCorpusReader(self.items)
        self.segmenter = FakeSegmenter(CHUNKING)

    def request(self) -> Request:
        return Request(
            index="docs",
            corpus={"uri": "fake"},
            chunking=CHUNKING,
            sharding=ShardingSpec(shard_mb=self.shard_bytes / 1e6),
            vector_dtype="float32",
            config={"index": "docs"},
            lexical=LexicalSpec(),
        )

    def plan(self) -> Plan:
        return plan(
            self.request(), self.reader, self.encoder, self.segmenter, lambda _: self.staging, None
        )

    def planned(self) -> Manifest:
        manifest = self.plan().manifest
        self.staging.write_manifest(manifest)
        self.encoder.texts.clear()
        return manifest

    def embedder(self, manifest: Manifest) -> ShardEmbedder:
        return ShardEmbedder(
            self.reader, self.encoder, self.segmenter, self.staging, CHUNKING, manifest.fingerprint
        )

    def embed(self, manifest: Manifest, dies_after: int | None = None) -> EmbedTotals:
        return embed(
            manifest, self.staging, self._opener(manifest, dies_after), self.spec, self.progress
        )

    def staged(self) -> tuple[Manifest, StagedCounts]:
        manifest = self.planned()
        self.embed(manifest)
        return manifest, reconcile(manifest, self.staging, self.spec, self.progress)

    def _opener(self, manifest: Manifest, dies_after: int | None) -> Callable[[], InlinePool]:
        def opened() -> InlinePool:
            self.pools.append(InlinePool(self.embedder(manifest), dies_after))
            return self.pools[-1]

        return opened
