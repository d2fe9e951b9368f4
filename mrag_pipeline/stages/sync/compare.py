"""The corpus against the live version: what a sync has to do, settled before it does it.

Documents are compared by fingerprint, never by time: clocks that disagree cost nothing.
Memory: a fingerprint and an id for each document of the version, about 200 bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from mrag_pipeline.domain.corpus_difference import CorpusDifference, delta_fingerprint
from mrag_pipeline.domain.documents import (
    DeadLetter,
    Document,
    document_fingerprint,
    text_hash,
)
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import (
    MAX_SHARD_BYTES,
    MIN_SHARD_BYTES,
    Shard,
    Slice,
)
from mrag_pipeline.domain.run_limits import too_many_dead, too_many_deleted
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, TooManyDeadLetters, TooManyDeleted
from mrag_pipeline.ports import CorpusReader, DeltaStaging, Mark, Progress, Rows
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.ingest.embed import duplicate

_GROW_EVERY = 8  # parts: the next ones hold more, so that a large sync has few shards


@dataclass(frozen=True, slots=True)
class SyncScope:
    """Which part of the corpus a sync looks at."""

    allow_deletes: bool = False  # past the configured share
    only: Collection[str] | None = None  # ids or places; then nothing is removed


@dataclass(frozen=True, slots=True)
class SyncComparison:
    """What was found, and the plan if there is something to do."""

    difference: CorpusDifference
    manifest: Manifest | None
    dead_letters: tuple[DeadLetter, ...]


def check_same_version(record: VersionRecord, chunking: ChunkingSpec, card: EncoderCard) -> None:
    """A sync adds to a version: it must cut and embed as the version did.

    Raises: FingerprintMismatch.
    """
    for what, found, expected in (
        ("encoder", card.identity(), record.encoder.identity()),
        ("chunking", chunking, record.chunking),
    ):
        if found != expected:
            raise FingerprintMismatch(
                f"the config's {what} is not the one that built {record.version}"
                + _differing(found, expected),
                "the same one: vectors of two do not compare",
                "run `mrag ingest`: it builds a new version beside the live one, then switches",
            )


def compare(
    record: VersionRecord,
    reader: CorpusReader,
    index: Rows,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    wanted: SyncScope,
    progress: Progress,
) -> SyncComparison:
    """Keeps in staging what is new or changed and what is to go; changes no index.

    Found again, the same plan goes on where it stopped.
    Raises: TooManyDeleted, TooManyDeadLetters; EmptyCorpus and what the reader raises.
    """
    collection = record.chunks_collection()
    known = _known(index, collection)
    progress.phase("compare", len(known), "documents")
    scan = _Scan(known, staging, wanted)
    for item in _read(reader):
        scan.take(item)
        progress.advance(1)
    scan.flush()
    removed = set() if wanted.only is not None else known.keys() - scan.seen
    difference = CorpusDifference(
        added=scan.added,
        changed=len(scan.changed),
        removed=len(removed),
        unchanged=len(known) - len(removed) - len(scan.changed),
        num_dead_letters=len(scan.dead),
    )
    progress.note(
        f"{difference.added:,} new, {difference.changed:,} changed, {difference.removed:,} gone, "
        f"{difference.unchanged:,} unchanged documents"
    )
    progress.finish()
    _check_dead(difference, len(scan.seen), ingest)
    if not wanted.allow_deletes and too_many_deleted(spec, len(removed), len(known)):
        raise TooManyDeleted(
            f"{len(removed):,} of {len(known):,} documents are no longer in the corpus",
            f"at most {spec.max_deleted_share:.0%} (sync.max_deleted_share)",
            "check corpus.uri; if they are meant to go, run `mrag sync --allow-deletes`",
        )
    if difference.is_empty:
        return SyncComparison(difference, None, tuple(scan.dead))
    gone = removed | scan.changed
    marks = [m for block in index.marks(collection) for m in block if m.document_id in gone]
    marks.sort(key=lambda mark: mark.id)
    manifest = _manifest(record, scan.slices, marks)
    stored = staging.manifest()
    if stored is None or stored.fingerprint != manifest.fingerprint:
        staging.discard()
        staging.write_removed(marks)
        # The manifest last: it settles what this sync does.
        staging.write_manifest(manifest)
    return SyncComparison(difference, manifest, tuple(scan.dead))


class _Scan:
    """One pass over the corpus: new and changed documents go to staging in parts."""

    def __init__(self, known: dict[str, str], staging: DeltaStaging, wanted: SyncScope) -> None:
        self._known = known
        self._staging = staging
        self._only = wanted.only
        self._held: list[Document] = []
        self._held_bytes = 0
        self.seen: set[str] = set()
        self.changed: set[str] = set()
        self.added = 0
        self.dead: list[DeadLetter] = []
        self.slices: list[Slice] = []

    def take(self, item: Document | DeadLetter) -> None:
        if isinstance(item, DeadLetter):
            self.dead.append(item)
            return
        if not item.text.strip():
            self.dead.append(
                DeadLetter(item.id, item.source, "no text is left to embed", text_hash(item.text))
            )
            return
        if item.id in self.seen:
            digest = text_hash(item.text)
            self.dead.append(duplicate(item.id, item.source, "an earlier place", digest))
            return
        self.seen.add(item.id)
        before = self._known.get(item.id)
        if before == document_fingerprint(item) or not self._is_wanted(item):
            return
        if before is None:
            self.added += 1
        else:
            self.changed.add(item.id)
        self._held.append(item)
        self._held_bytes += len(item.text)
        most = MIN_SHARD_BYTES * (1 + len(self.slices) // _GROW_EVERY)
        if self._held_bytes >= min(most, MAX_SHARD_BYTES):
            self.flush()

    def flush(self) -> None:
        if self._held:
            self.slices.append(self._staging.write_documents(self._held))
            self._held, self._held_bytes = [], 0

    def _is_wanted(self, item: Document) -> bool:
        return self._only is None or item.id in self._only or item.source in self._only


def _known(index: Rows, collection: str) -> dict[str, str]:
    """Each document's fingerprint; "" where its chunks disagree, so that it counts as changed."""
    known: dict[str, str] = {}
    for block in index.marks(collection):
        for mark in block:
            if known.setdefault(mark.document_id, mark.fingerprint) != mark.fingerprint:
                known[mark.document_id] = ""
    return known


def _read(reader: CorpusReader) -> Iterator[Document | DeadLetter]:
    for piece in reader.slices(MAX_SHARD_BYTES):
        yield from reader.read([piece])


def _manifest(record: VersionRecord, slices: list[Slice], marks: list[Mark]) -> Manifest:
    number = record.syncs + 1
    removed = [mark.id for mark in marks]
    return Manifest(
        index=record.index,
        version=record.version,
        fingerprint=delta_fingerprint(
            record.fingerprint, number, [piece.stamp for piece in slices], removed
        ),
        listing=record.fingerprint,
        corpus={"uri": record.corpus, "sync": number},
        chunking=record.chunking,
        encoder=record.encoder,
        vector_dtype=str(_staging_of(record).get("vector_dtype", "float32")),
        shards=tuple(Shard(at, (piece,)) for at, piece in enumerate(slices)),
        config=record.config,
    )


def _staging_of(record: VersionRecord) -> dict[str, Any]:
    found = record.config.get("staging", {})
    return dict(found) if isinstance(found, dict) else {}


def _check_dead(difference: CorpusDifference, taken: int, spec: IngestSpec) -> None:
    dead = difference.num_dead_letters
    if too_many_dead(spec, dead, taken):
        raise TooManyDeadLetters(
            f"{dead:,} of {dead + taken:,} documents are bad",
            f"at most {spec.max_dead_letter_share:.1%} (ingest.max_dead_letter_share)",
            "mend the corpus, or allow a larger share; nothing was changed",
        )


def _differing(found: Any, expected: Any) -> str:
    if not isinstance(found, dict):
        return f": {found} against {expected}"
    names = [name for name in expected if found.get(name) != expected[name]]
    return f" ({', '.join(names)} differ)"
