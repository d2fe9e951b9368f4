"""Stores a sync's delta in staging: the documents to embed, the chunks to remove, the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.corpus_difference import delta_fingerprint
from mrag_pipeline.domain.dead_letters import NO_TEXT, duplicate_id, unusable
from mrag_pipeline.domain.documents import (
    DeadLetter,
    Document,
    document_fingerprint,
    text_hash,
)
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import (
    MAX_SHARD_BYTES,
    MIN_SHARD_BYTES,
    Shard,
    Slice,
)
from mrag_pipeline.domain.remarks import add_remarks
from mrag_pipeline.domain.version import PUSH_KEY, PUSHES, VersionRecord
from mrag_pipeline.ports import DeltaStaging, Mark, Unchanged
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.sync.known_documents import Known

_IDS_HASHED = 50_000  # at a time
_GROW_EVERY = 8  # parts: the next ones hold more, so that a large sync has few shards


class Scan:
    """One pass over documents; writes the new and changed ones to staging in parts."""

    def __init__(self, known: Known, staging: DeltaStaging) -> None:
        """Begins with nothing.

        Args:
            known: the version's documents; whoever fills it meanwhile does so before a document
                is taken.
        """
        self._known = known
        self._staging = staging
        self._held: list[Document] = []
        self._held_bytes = 0
        self.changed: set[str] = set()
        self.added = 0
        self.dead: list[DeadLetter] = []
        self.slices: list[Slice] = []
        self.remarks: dict[str, int] = {}

    def take(self, item: Document | DeadLetter | Unchanged) -> None:
        """Compares a document with the version's, and writes it when its part is full."""
        if isinstance(item, Unchanged):
            self._known.see(item.document_id)
            return
        if isinstance(item, DeadLetter):
            self.dead.append(item)
            return
        if not item.text.strip():
            self.dead.append(unusable(item, NO_TEXT))
            return
        if not self._known.see(item.id):
            digest = text_hash(item.text)
            self.dead.append(duplicate_id(item.id, item.source, "an earlier place", digest))
            return
        add_remarks(self.remarks, item.remarks)
        is_equal = self._known.is_equal(item.id, document_fingerprint(item))
        if is_equal:
            return
        if is_equal is None:
            self.added += 1
        else:
            self.changed.add(item.id)
        self._held.append(item)
        self._held_bytes += len(item.text)
        part_bytes = MIN_SHARD_BYTES * (1 + len(self.slices) // _GROW_EVERY)
        if self._held_bytes >= min(part_bytes, MAX_SHARD_BYTES):
            self.flush()

    def flush(self) -> None:
        """Writes what is held."""
        if self._held:
            self.slices.append(self._staging.write_documents(self._held))
            self._held, self._held_bytes = [], 0


def settle(
    record: VersionRecord,
    slices: Sequence[Slice],
    marks: Iterable[Sequence[Mark]],
    staging: DeltaStaging,
    pushes: int,
    key: str = "",
) -> Manifest:
    """Settles what the version's next sync does, whatever happens to the corpus meanwhile.

    If the same was settled before, its sync continues where it stopped.

    Args:
        slices: the documents to embed, as staging wrote them.
        marks: the chunks to remove, in blocks; they are read twice.
        pushes: what the record counts once the sync is applied; key: what it then remembers.
    """
    with closing(SortedIds(map(_ids, marks))) as removed:
        in_blocks = (block.ids().tolist() for block in removed.blocks(_IDS_HASHED))
        manifest = _manifest(record, slices, in_blocks, pushes, key)
    stored = staging.manifest()
    if stored is not None and stored.fingerprint == manifest.fingerprint:
        staging.write_removed(marks)  # the file may have been damaged since
        return manifest
    staging.discard()
    staging.write_removed(marks)
    # The manifest last: it settles what this sync does.
    staging.write_manifest(manifest)
    return manifest


def _ids(marks: Sequence[Mark]) -> NDArray[np.int64]:
    return np.array([mark.id for mark in marks], np.int64)


def _manifest(
    record: VersionRecord,
    slices: Sequence[Slice],
    removed: Iterator[list[int]],
    pushes: int,
    key: str,
) -> Manifest:
    number = record.syncs + 1
    counted: dict[str, int | str] = {PUSHES: pushes} if pushes else {}
    counted |= {PUSH_KEY: key} if key else {}
    parts = [piece.stamp for piece in slices] + [f"{name}={counted[name]}" for name in counted]
    return Manifest(
        index=record.index,
        version=record.version,
        fingerprint=delta_fingerprint(record.fingerprint, number, parts, removed),
        listing=record.fingerprint,
        corpus={"uri": record.corpus, "sync": number, **counted},
        chunking=record.chunking,
        encoder=record.encoder,
        vector_dtype=str(_staging_of(record).get("vector_dtype", "float32")),
        shards=tuple(Shard(number, (piece,)) for number, piece in enumerate(slices)),
        config=record.config,
    )


def _staging_of(record: VersionRecord) -> dict[str, Any]:
    staging = record.config.get("staging", {})
    return dict(staging) if isinstance(staging, dict) else {}
