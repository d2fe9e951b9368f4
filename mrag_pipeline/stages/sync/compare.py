"""Compares the corpus with the live version, and stores what a sync has to do before it does it.

Documents are compared by fingerprint, never by time, so clocks need not agree.
Memory: a fingerprint and an id for each document of the version, about 200 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrag_pipeline.domain.corpus_difference import CorpusDifference, delta_fingerprint
from mrag_pipeline.domain.dead_letters import (
    NO_TEXT,
    duplicate_id,
    is_of_a_file,
    num_set_aside,
    unusable,
)
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
from mrag_pipeline.domain.remarks import add_remarks
from mrag_pipeline.domain.run_limits import check_dead_letters, too_many_deleted
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, TooManyDeleted
from mrag_pipeline.ports import CorpusReader, DeltaStaging, Mark, Progress, Rows
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec

_GROW_EVERY = 8  # parts: the next ones hold more, so that a large sync has few shards


@dataclass(frozen=True, slots=True)
class SyncScope:
    """Which part of the corpus a sync compares, and how much it may remove."""

    allow_deletes: bool = False  # beyond the configured share
    only: Collection[str] | None = None  # document ids or sources; then nothing is removed


@dataclass(frozen=True, slots=True)
class SyncComparison:
    """The difference, and the plan if there is one."""

    difference: CorpusDifference
    manifest: Manifest | None
    dead_letters: tuple[DeadLetter, ...]
    remarks: Mapping[str, int] = field(default_factory=dict)  # documents, by what is told of them


def check_same_version(
    record: VersionRecord,
    chunking: ChunkingSpec,
    encoder: EncoderSpec,
    load_card: Callable[[], EncoderCard],
) -> None:
    """Refuses a config that chunks or embeds in another way than the version did.

    Args:
        load_card: the card of the config's encoder; called only if its settings differ from those
            that built the version, because it loads the model.
    Raises: FingerprintMismatch.
    """
    card = record.encoder if encoder == record.encoder.spec else load_card()
    for part, actual, expected in (
        ("encoder", card.identity(), record.encoder.identity()),
        ("chunking", chunking, record.chunking),
    ):
        if actual != expected:
            raise FingerprintMismatch(
                f"the config's {part} is not the one that built {record.version}"
                + _differing(actual, expected),
                "the same one: vectors of different ones cannot be compared",
                "run `mrag ingest`: it builds a new version beside the live one, then switches",
            )


def compare(
    record: VersionRecord,
    reader: CorpusReader,
    index: Rows,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    scope: SyncScope,
    progress: Progress,
) -> SyncComparison:
    """Stores in staging what is new or changed and what is to be removed; changes no index.

    If the same difference was stored before, its sync continues where it stopped.
    Raises: TooManyDeleted, TooManyDeadLetters; EmptyCorpus and what the reader raises.
    """
    collection = record.chunks_collection()
    known = _known(index, collection)
    progress.phase("compare", len(known), "documents")
    scan = _Scan(known, staging, scope)
    for item in _read(reader):
        scan.take(item)
        progress.advance(1)
    scan.flush()
    removed = set() if scope.only is not None else known.keys() - scan.seen
    num_files = sum(map(is_of_a_file, scan.dead))
    if removed and num_files:
        progress.note(
            f"{len(removed):,} documents not found are kept: {num_files} file(s) cannot be read"
        )
        removed = set()
    difference = CorpusDifference(
        added=scan.added,
        changed=len(scan.changed),
        removed=len(removed),
        unchanged=len(known) - len(removed) - len(scan.changed),
        num_dead_letters=num_set_aside(scan.dead),
    )
    progress.note(
        f"{difference.added:,} new, {difference.changed:,} changed, {difference.removed:,} gone, "
        f"{difference.unchanged:,} unchanged documents"
    )
    progress.finish()
    check_dead_letters(ingest, difference.num_dead_letters, len(scan.seen), "nothing was changed")
    if not scope.allow_deletes and too_many_deleted(spec, len(removed), len(known)):
        found = f"{len(removed):,} of {len(known):,} documents are no longer in the corpus"
        fix = "check corpus.uri; to remove them all the same, run `mrag sync --allow-deletes`"
        if 2 * difference.added >= len(removed):
            found += f", and {difference.added:,} are new"
            fix = (
                "if they are the same documents, their ids have changed: set corpus.id_field, and "
                "run `mrag ingest`"
            )
        raise TooManyDeleted(
            found, f"at most {spec.max_deleted_share:.0%} (sync.max_deleted_share)", fix
        )
    if difference.is_empty:
        return SyncComparison(difference, None, tuple(scan.dead), scan.remarks)
    outdated = removed | scan.changed
    marks = [
        mark for block in index.marks(collection) for mark in block if mark.document_id in outdated
    ]
    marks.sort(key=lambda mark: mark.id)
    manifest = _manifest(record, scan.slices, marks)
    stored = staging.manifest()
    if stored is None or stored.fingerprint != manifest.fingerprint:
        staging.discard()
        staging.write_removed(marks)
        # The manifest last: it settles what this sync does.
        staging.write_manifest(manifest)
    return SyncComparison(difference, manifest, tuple(scan.dead), scan.remarks)


class _Scan:
    """One pass over the corpus; writes new and changed documents to staging in parts."""

    def __init__(self, known: dict[str, str], staging: DeltaStaging, scope: SyncScope) -> None:
        self._known = known
        self._staging = staging
        self._only = scope.only
        self._held: list[Document] = []
        self._held_bytes = 0
        self.seen: set[str] = set()
        self.changed: set[str] = set()
        self.added = 0
        self.dead: list[DeadLetter] = []
        self.slices: list[Slice] = []
        self.remarks: dict[str, int] = {}

    def take(self, item: Document | DeadLetter) -> None:
        if isinstance(item, DeadLetter):
            self.dead.append(item)
            return
        if not item.text.strip():
            self.dead.append(unusable(item, NO_TEXT))
            return
        if item.id in self.seen:
            digest = text_hash(item.text)
            self.dead.append(duplicate_id(item.id, item.source, "an earlier place", digest))
            return
        self.seen.add(item.id)
        add_remarks(self.remarks, item.remarks)
        known_fingerprint = self._known.get(item.id)
        if known_fingerprint == document_fingerprint(item) or not self._is_in_scope(item):
            return
        if known_fingerprint is None:
            self.added += 1
        else:
            self.changed.add(item.id)
        self._held.append(item)
        self._held_bytes += len(item.text)
        part_bytes = MIN_SHARD_BYTES * (1 + len(self.slices) // _GROW_EVERY)
        if self._held_bytes >= min(part_bytes, MAX_SHARD_BYTES):
            self.flush()

    def flush(self) -> None:
        if self._held:
            self.slices.append(self._staging.write_documents(self._held))
            self._held, self._held_bytes = [], 0

    def _is_in_scope(self, item: Document) -> bool:
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
        shards=tuple(Shard(number, (piece,)) for number, piece in enumerate(slices)),
        config=record.config,
    )


def _staging_of(record: VersionRecord) -> dict[str, Any]:
    staging = record.config.get("staging", {})
    return dict(staging) if isinstance(staging, dict) else {}


def _differing(actual: Any, expected: Any) -> str:
    if not isinstance(actual, dict):
        return f": {actual} instead of {expected}"
    names = [name for name in expected if actual.get(name) != expected[name]]
    return f" ({', '.join(names)} differ)"
