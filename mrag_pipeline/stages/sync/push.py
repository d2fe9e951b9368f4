"""Compares pushed changes with the live version's rows of the same documents, and with no others.

What it costs depends on the changes alone: documents are looked up by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from mrag_pipeline.domain.corpus_difference import CorpusDifference
from mrag_pipeline.domain.dead_letters import num_set_aside
from mrag_pipeline.domain.documents import DeadLetter, Document, document_fingerprint
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES
from mrag_pipeline.domain.pushes import ChangesDigest, is_repeated, key_entry, remembered
from mrag_pipeline.domain.remarks import REPLACED, add_counts
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CorpusReader, DeltaStaging, Mark, Progress, Rows, VersionRows
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.sync.compare import SyncComparison
from mrag_pipeline.stages.sync.delta import Scan, settle
from mrag_pipeline.stages.sync.known_documents import LookedUp, fingerprints_of

T = TypeVar("T")

_BLOCK = 500  # documents looked up at a time


@dataclass(frozen=True, slots=True)
class Changes:
    """What a caller pushes."""

    documents: CorpusReader | None = None  # to add or replace; of one id, the last counts
    deleted: Sequence[str] = ()  # ids of documents to remove
    key: str = ""  # the caller's; changes that were applied under it are not applied again


@dataclass(frozen=True, slots=True)
class PushComparison:
    """What pushed changes are to the version."""

    compared: SyncComparison
    unknown: int  # ids to delete that the version does not have
    repeated: bool  # whether they were applied before, under the same key


def compare_push(
    record: VersionRecord,
    changes: Changes,
    index: VersionRows,
    staging: DeltaStaging,
    ingest: IngestSpec,
    progress: Progress,
) -> PushComparison:
    """Stores in staging what the changes add, replace and remove, as `compare` does for a corpus.

    Changes that alter nothing are only remembered by their key, in the version's record.
    Raises: FingerprintMismatch if the key was used for other changes; TooManyDeadLetters;
        ConfigError if a document is both given and deleted; and what the reader raises.
    """
    deleted = dict.fromkeys(changes.deleted)
    newest, digest = _newest(changes, deleted)
    entry = key_entry(changes.key, digest)
    if is_repeated(record.push_keys, entry):
        progress.note("these changes were applied before, under the same key")
        return PushComparison(_nothing(newest), 0, True)
    look_up = _LookUp(index, record.chunks_collection())
    known = LookedUp(look_up.known)
    scan = Scan(known, staging)
    progress.phase("compare", newest.count + len(deleted), "documents")
    for block in _blocks(_read_newest(changes, newest)):
        look_up.read([item.id for item in block if isinstance(item, Document)])
        for item in block:
            scan.take(item)
        progress.advance(len(block))
    scan.flush()
    for ids in _blocks(deleted):
        look_up.read(ids)
        progress.advance(len(ids))
    removed = deleted.keys() & look_up.known.keys()
    difference = CorpusDifference(
        added=scan.added,
        changed=len(scan.changed),
        removed=len(removed),
        unchanged=known.num_seen - scan.added - len(scan.changed),
        num_dead_letters=num_set_aside(scan.dead),
    )
    progress.note(
        f"{difference.added:,} new, {difference.changed:,} changed, {difference.removed:,} to "
        f"delete, {difference.unchanged:,} unchanged documents"
    )
    progress.finish()
    check_dead_letters(ingest, difference.num_dead_letters, known.num_seen, "nothing was changed")
    remarks = dict(scan.remarks)
    if newest.replaced:
        add_counts(remarks, {REPLACED: newest.replaced})
    manifest = None
    if not difference.is_empty:
        outdated = removed | scan.changed
        marks = [mark for mark in look_up.marks if mark.document_id in outdated]
        marks.sort(key=lambda mark: mark.id)
        manifest = settle(record, scan.slices, [marks], staging, record.pushes + 1, entry)
    elif entry:
        index.write_record(replace(record, push_keys=remembered(record.push_keys, entry)))
    compared = SyncComparison(difference, manifest, tuple(scan.dead), remarks)
    return PushComparison(compared, len(deleted) - len(removed), False)


@dataclass(slots=True)
class _Newest:
    """Where the last document of each id stands among those that are pushed."""

    places: dict[str, int] = field(default_factory=dict)
    num_documents: int = 0
    count: int = 0  # of documents and dead letters

    @property
    def replaced(self) -> int:
        """Documents that a later one of the same id replaces."""
        return self.num_documents - len(self.places)


def _newest(changes: Changes, deleted: dict[str, None]) -> tuple[_Newest, str]:
    """A first pass over the documents; the digest of all changes."""
    newest, digest = _Newest(), ChangesDigest(deleted)
    for item in _read(changes):
        if isinstance(item, Document):
            if item.id in deleted:
                raise ConfigError(
                    f"document {item.id!r} is both given and to be deleted",
                    "one change to a document",
                    "leave one of them out, or push one after the other",
                )
            digest.add(item.id, document_fingerprint(item))
            newest.places[item.id] = newest.count
            newest.num_documents += 1
        newest.count += 1
    return newest, digest.hexdigest()


def _read_newest(changes: Changes, newest: _Newest) -> Iterator[Document | DeadLetter]:
    for place, item in enumerate(_read(changes)):
        if isinstance(item, DeadLetter) or newest.places.get(item.id) == place:
            yield item


def _read(changes: Changes) -> Iterator[Document | DeadLetter]:
    if changes.documents is not None:
        for piece in changes.documents.slices(MAX_SHARD_BYTES):
            yield from changes.documents.read([piece])


def _blocks(items: Iterable[T]) -> Iterator[list[T]]:
    items = iter(items)
    while block := list(islice(items, _BLOCK)):
        yield block


def _nothing(newest: _Newest) -> SyncComparison:
    return SyncComparison(CorpusDifference(0, 0, 0, len(newest.places), 0), None, ())


class _LookUp:
    """The version's rows of the documents that were asked for so far."""

    def __init__(self, index: Rows, collection: str) -> None:
        self._index = index
        self._collection = collection
        self.marks: list[Mark] = []
        self.known: dict[str, str] = {}  # each document's fingerprint

    def read(self, document_ids: Sequence[str]) -> None:
        marks = self._index.marks_of(self._collection, document_ids)
        self.marks += marks
        fingerprints_of(marks, self.known)
