"""A living index over fakes: a corpus, a staging folder, an index, and every stage on them.

The encoder is a fake and the pool runs in this process; staging is a real folder, and the test
chooses the index. Only the folder and the index last from one call to the next, so to the stages
each call looks like a new process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import numpy as np

from mrag_pipeline.domain.documents import DeadLetter, Document, text_hash
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import DeltaStaging, OpenPool, Staging, VectorIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.settings.vectors import VectorType
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import Request, plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sync.apply import Applied, apply, finish, found_equal, unfinished
from mrag_pipeline.stages.sync.compare import SyncComparison, SyncScope, check_same_version, compare
from mrag_pipeline.stages.sync.push import Changes, PushComparison, compare_push
from mrag_pipeline.stages.versions.audit import Audit, audit
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.lost_record import found_version
from mrag_pipeline.stages.versions.repair import Repaired, repair
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.staging.deltas import open_delta
from mrag_pipeline.staging.read_cache_files import ReadCacheFolder
from mrag_pipeline.staging.shards import open_staging
from tests.support.builds import WORDS, InlinePool, RecordingProgress
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter


def a_document(number: int, edition: int = 0, words: int = 12) -> Document:
    """Random words, fixed by number and edition: two chunks of at most eight tokens."""
    random = np.random.default_rng((number, edition))
    text = " ".join(str(random.choice(WORDS)) for _ in range(words))
    return Document(
        f"d{number}",
        text,
        title=f"Title {number}",
        metadata={"n": number, "edition": edition},
        source=f"corpus:{number}",
    )


class CountingEncoder(FakeEncoder):
    """Counts the document chunks that it embeds."""

    def __init__(self, num_heads: int = 3) -> None:
        super().__init__(num_heads=num_heads)
        self.count = 0

    def encode(self, texts, role):  # type: ignore[no-untyped-def]
        if role == "document":
            self.count += len(texts)
        return super().encode(texts, role)


@dataclass
class Living:
    """An index and what it is built from."""

    folder: Path
    items: Sequence[Document | DeadLetter]
    index: VectorIndex = field(default_factory=lambda: ExactIndex("docs"))
    chunking: ChunkingSpec = field(default_factory=lambda: ChunkingSpec(max_tokens=8))
    shard_bytes: int = 400
    range_bytes: float = inf  # of a collection, where its load is cut into ranges
    num_heads: int = 3
    name: str = "docs"  # of the index
    vector_dtype: VectorType = "float32"  # of staging
    import_bytes: float = inf  # chunks of a shard with so many are staged as a server imports them
    spec: SyncSpec = field(default_factory=lambda: SyncSpec(max_deleted_share=0.5))
    ingest_spec: IngestSpec = field(default_factory=lambda: IngestSpec(verify_sample=4))
    wrap_staging: Callable[[Staging], Staging] = lambda staging: staging
    progress: RecordingProgress = field(default_factory=RecordingProgress)
    embedded: int = 0  # chunks, in all calls
    basis: dict[str, str] = field(default_factory=dict)  # of what is kept of files
    pools: OpenPool = in_this_process  # where the items of a sync's `apply` are done

    # ---------------------------------------------------------- parts
    def reader(self) -> FakeCorpusReader:
        listing = text_hash(repr(list(self.items)))
        return FakeCorpusReader(self.items, stamp=listing)

    def staging(self, version: str) -> Staging:
        return self.wrap_staging(
            open_staging(StagingSpec(uri=str(self.folder)), self.name, version, self.import_bytes)
        )

    def delta(self, record: VersionRecord) -> DeltaStaging:
        opened = open_delta(
            StagingSpec(uri=str(self.folder)), self.name, record.version, record.syncs + 1
        )
        return self.wrap_staging(opened)  # type: ignore[return-value]

    def pool(self, staging: Staging, fingerprint: str, reader: object) -> InlinePool:
        encoder = CountingEncoder(self.num_heads)
        outer = self

        class Counted(InlinePool):
            def close(self) -> None:
                outer.embedded += encoder.count

        return Counted(
            ShardEmbedder(
                reader,  # type: ignore[arg-type]
                encoder,
                FakeSegmenter(self.chunking),
                staging,
                self.chunking,
                fingerprint,
            )
        )

    # ---------------------------------------------------------- runs
    def build(self) -> Manifest:
        """Plans a version and embeds its shards."""
        request = Request(
            self.name,
            {"uri": "fake"},
            self.chunking,
            ShardingSpec(shard_mb=self.shard_bytes / 1e6),
            self.vector_dtype,
            {"staging": {"vector_dtype": self.vector_dtype}},
            LexicalSpec(),
        )
        reader = self.reader()
        encoder = FakeEncoder(num_heads=self.num_heads)
        segmenter = FakeSegmenter(self.chunking)
        planned = plan(request, reader, encoder, segmenter, self.staging, self.index)
        manifest = planned.manifest
        staging = self.staging(manifest.version)
        staging.write_manifest(manifest)
        embed(
            manifest,
            staging,
            lambda: self.pool(staging, manifest.fingerprint, reader),
            self.ingest_spec,
            self.progress,
        )
        return manifest

    def ingest(self) -> VersionRecord:
        """What `mrag ingest` does."""
        manifest = self.build()
        staging = self.staging(manifest.version)
        staged = reconcile(manifest, staging, self.ingest_spec, self.progress)
        load(
            manifest,
            staging,
            self.index,
            staged.num_chunks,
            self.progress,
            range_bytes=self.range_bytes,
        )
        verify(manifest, staging, self.index, staged.num_chunks, self.ingest_spec, self.progress)
        return publish(manifest, staged, self.index)

    def sync(self, wanted: SyncScope | None = None) -> tuple[SyncComparison, Applied | None]:
        """What `mrag sync` does: finishes a sync that was cut short, then looks for more."""
        record = live_record(self.index)
        card = FakeEncoder(num_heads=self.num_heads).card
        # Settings that differ from the version's, so that the cards are compared.
        moved = replace(card.spec, model="moved/to/another/path")
        check_same_version(record, self.chunking, moved, lambda: card)
        record = self.finished(record)
        delta = self.delta(record)
        scope = wanted or SyncScope()
        compared = compare(
            record,
            self.reader(),
            self.index,
            delta,
            self.spec,
            self.ingest_spec,
            scope,
            self.progress,
            cache=ReadCacheFolder(StagingSpec(uri=str(self.folder)), self.name, self.basis),
        )
        manifest = compared.manifest
        if manifest is None:
            if scope.only is None:
                found_equal(record, compared.reading, self.index)
            return compared, None
        self.embed_delta(manifest, delta)
        dead = compared.difference.num_dead_letters
        spec = self.ingest_spec
        done = apply(record, manifest, delta, self.index, dead, spec, self.progress, self.pools)
        return compared, done

    def push(
        self,
        documents: Sequence[Document | DeadLetter] = (),
        deleted: Sequence[str] = (),
        key: str = "",
    ) -> tuple[PushComparison, Applied | None]:
        """What `mrag upsert` and `mrag delete` do."""
        record = live_record(self.index)
        record = self.finished(record)
        delta = self.delta(record)
        changes = Changes(FakeCorpusReader(documents) if documents else None, deleted, key)
        spec = self.ingest_spec
        pushed = compare_push(record, changes, self.index, delta, spec, self.progress)
        manifest = pushed.compared.manifest
        if manifest is None:
            return pushed, None
        self.embed_delta(manifest, delta)
        done = apply(record, manifest, delta, self.index, None, spec, self.progress, self.pools)
        return pushed, done

    def finished(self, record: VersionRecord) -> VersionRecord:
        """Finishes the version's interrupted sync, if there is one; returns its record."""
        delta = self.delta(record)
        manifest = unfinished(record, delta)
        if manifest is not None:
            self.embed_delta(manifest, delta)
        spec = self.ingest_spec
        return finish(record, delta, self.index, spec, self.progress, self.pools)[0]

    def embed_delta(self, manifest: Manifest, delta: DeltaStaging) -> None:
        """Stages a sync's documents."""
        embed(
            manifest,
            delta,
            lambda: self.pool(delta, manifest.fingerprint, delta.reader()),
            self.ingest_spec,
            self.progress,
            may_be_empty=True,
        )

    # ---------------------------------------------------------- looking
    def rebuilt(self, folder: Path) -> Living:
        """The same corpus, built from scratch in another folder and an exact index."""
        fresh = replace(
            self,
            folder=folder,
            index=ExactIndex(self.name),
            wrap_staging=lambda staging: staging,
            progress=RecordingProgress(),
            embedded=0,
        )
        fresh.ingest()
        return fresh

    def content(self) -> dict[str, dict[int, bytes]]:
        """Everything the live version holds: each head's vectors and the chunks' rows."""
        return content_of(self.index)


def content_of(index: VectorIndex) -> dict[str, dict[int, bytes]]:
    """Every row of the live version, by collection without the version's name, to the bit."""
    record = live_record(index)
    content: dict[str, dict[int, bytes]] = {}
    for name in (*record.head_collections(), record.chunks_collection()):
        ids = [int(i) for block in index.ids(name) for i in block]
        assert len(ids) == len(set(ids)), f"{name} holds a row twice"
        vectors = index.vectors(name, ids)
        content[name.removeprefix(f"{record.index}_{record.version}_")] = {
            i: vectors[i].tobytes() for i in sorted(ids)
        }
        if name == record.chunks_collection():
            rows = index.chunks(name, ids)
            content["texts"] = {i: repr(rows[i]).encode() for i in sorted(ids)}
    return content


def assert_same(living: Living, other: Living) -> None:
    """Both live versions hold the same ids, vectors, texts, counts and importance (1e-9)."""
    content, other_content = living.content(), other.content()
    assert content.keys() == other_content.keys()
    for name, rows in other_content.items():
        assert content[name].keys() == rows.keys(), name
        assert content[name] == rows, name
    record, other_record = live_record(living.index), live_record(other.index)
    assert (record.num_documents, record.num_chunks) == (
        other_record.num_documents,
        other_record.num_chunks,
    )
    assert record.num_dead_letters == other_record.num_dead_letters
    np.testing.assert_allclose(record.importance(), other_record.importance(), rtol=1e-9, atol=0)


def audited(living: Living, with_staging: bool = True) -> Audit:
    """What `mrag audit` finds in the live version."""
    record = live_record(living.index)
    staged = _staged(living, record) if with_staging else None
    return audit(record, staged, living.index, living.progress)


def repaired(living: Living, with_staging: bool = True) -> Repaired:
    """What `mrag repair` does."""
    record = live_record(living.index)
    staged = _staged(living, record) if with_staging else None
    return repair(record, staged, living.index, living.progress)


def audit_says(living: Living) -> str:
    """What `mrag audit` says: its findings, or why it cannot look."""
    try:
        return "\n".join(str(one) for one in audited(living).findings)
    except MragError as error:
        return str(error) if error.fix else f"{error}: what to do is not said"


def repaired_as_command(living: Living, version: str | None = None) -> Repaired:
    """What `mrag repair --version` does, also where the record or the alias is lost."""
    spec = StagingSpec(uri=str(living.folder))
    index = living.index
    found = found_version(
        index,
        version,
        lambda version: open_staging(spec, living.name, version),
        lambda version, number: open_delta(spec, living.name, version, number),
    )
    if found.is_record_new:
        index.discard_damaged_records()
        index.write_record(found.record)
    done = repair(found.record, _staged(living, found.record), index, living.progress)
    if found.was_live:
        index.activate(found.record.version)
    return done


def staged_of(living: Living) -> StagedVersion:
    """The staging of the live version, opened anew."""
    staged = _staged(living, live_record(living.index))
    assert staged is not None
    return staged


def _staged(living: Living, record: VersionRecord) -> StagedVersion | None:
    spec = StagingSpec(uri=str(living.folder))
    base = open_staging(spec, living.name, record.version)
    return StagedVersion.open(
        record, base, lambda number: open_delta(spec, living.name, record.version, number)
    )
