"""Reads blocks of a version's chunks and compares every row with what proves it.

A row that no proof is known for is checked by its id, which is a hash of document, span and text
(`domain/documents.py`), and its vectors by the importance sums.
Shape legend: N chunks, H heads, D dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import chunk_id
from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.proofs import UNPROVEN, Proofs, read_proofs, row_hash, vector_hashes
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, ReadableVersion
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import chunk_of, words_of_version

Ids = list[int]


@dataclass(slots=True)
class CheckedRows:
    """What was found in the rows of some chunks; adds up over blocks."""

    sums: list[ImportanceSums]  # of each head's usable vectors
    # By collection: what is not as it was written. Of the chunks rows, without their vectors.
    altered: dict[str, Ids] = field(default_factory=dict)
    altered_standard: dict[str, Ids] = field(default_factory=dict)  # those vectors
    unusable: dict[str, Ids] = field(default_factory=dict)  # zero, NaN or infinite
    missing: dict[str, Ids] = field(default_factory=dict)  # chunks that the collection lacks
    bad_proofs: Ids = field(default_factory=list)  # no proofs at all
    num_unproven: int = 0

    @classmethod
    def nothing(cls, record: VersionRecord) -> CheckedRows:
        """No row is read yet."""
        return cls([ImportanceSums.zero(1, record.encoder.head_dim) for _ in record.encoder.heads])

    def add(self, other: CheckedRows) -> None:
        """Adds what was found in other rows, behind what was found in these."""
        for head, sums in enumerate(other.sums):
            self.sums[head] += sums
        for own, others in (
            (self.altered, other.altered),
            (self.altered_standard, other.altered_standard),
            (self.unusable, other.unusable),
            (self.missing, other.missing),
        ):
            for collection, ids in others.items():
                own.setdefault(collection, []).extend(ids)
        self.bad_proofs += other.bad_proofs
        self.num_unproven += other.num_unproven

    def wrong(self, record: VersionRecord) -> dict[str, NDArray[np.int64]]:
        """By collection, the rows that are missing or not as they were written: (n,), rising."""
        found = {record.chunks_collection(): list(self.bad_proofs)}
        for kind in (self.altered, self.altered_standard, self.unusable, self.missing):
            for collection, ids in kind.items():
                found.setdefault(collection, []).extend(ids)
        return {
            collection: np.unique(np.array(ids, np.int64))
            for collection, ids in found.items()
            if ids
        }


def check_rows(
    checked: CheckedRows,
    record: VersionRecord,
    index: ReadableVersion,
    ids: Sequence[int],
    proofs: Sequence[str],
    texts: Sequence[ChunkRow] | None = None,
    unreadable: Collection[str] = (),
) -> NDArray[np.uint64]:
    """Adds what is found of these chunks: the chunks row, every head's vector, the words.

    Args:
        proofs: what proves the rows of each chunk; UNPROVEN where nothing does.
        texts: the chunks rows as they should be, by which the words are checked; None: as they are.
        unreadable: collections that are left out; not the chunks collection.
    Returns: the keys (`domain/id_sets.py`) of the documents that have these chunks, each once.
    """
    name = record.chunks_collection()
    by_id = index.chunks(name, ids)
    rows = [by_id[row_id] for row_id in ids if row_id in by_id]
    is_there = np.array([row_id in by_id for row_id in ids], bool)
    expected = read_proofs(proofs, 1 + len(record.encoder.heads))
    _note(checked.missing, name, np.array(ids, np.int64)[~is_there])
    _check_texts(checked, name, rows, expected.chosen(is_there))
    vector_collections = (name, *record.head_collections())
    for number, collection in enumerate(vector_collections):
        if collection not in unreadable:
            vectors = index.vectors(collection, ids)
            head = None if number == 0 else number - 1
            hashes = expected.vectors[:, number]
            _check_vectors(checked, collection, head, ids, vectors, hashes, expected.is_proven)
    if record.lexical is not None and record.lexical_collection() not in unreadable:
        words = words_of_version(record)
        stale = index.stale_words(words, rows if texts is None else texts)
        _note(checked.altered, words.name, np.array(stale))
    documents = {row.document_id for row in rows}
    return np.fromiter(map(text_key, documents), np.uint64, len(documents))


def proofs_in(
    index: ReadableVersion, name: str, ids: Sequence[int], staged: StagedVersion | None
) -> list[str]:
    """What the chunks rows of these ids hold as their proofs; UNPROVEN where they hold none.

    Args:
        name: of the chunks collection.
        staged: proves chunks that have no proof in the index.
    """
    stored = index.proofs(name, ids)
    texts = [stored.get(row_id, UNPROVEN) for row_id in ids]
    if staged is None or UNPROVEN not in texts:
        return texts
    of_staging = staged.proofs([i for i, text in zip(ids, texts, strict=True) if not text])
    return [
        text or of_staging.get(row_id, UNPROVEN) for row_id, text in zip(ids, texts, strict=True)
    ]


def _check_texts(checked: CheckedRows, name: str, rows: Sequence[ChunkRow], proofs: Proofs) -> None:
    ids = np.array([row.id for row in rows], np.int64)
    hashes = np.array([row_hash(chunk_of(row)) for row in rows], np.uint64)
    # The id proves document, span and text of a row that nothing else proves.
    named = np.array(
        [chunk_id(row.document_id, row.start, row.end, row.text) for row in rows], np.int64
    )
    is_right = np.where(proofs.is_proven, hashes == proofs.rows, named == ids)
    _note(checked.altered, name, ids[~is_right & ~proofs.is_damaged])
    checked.bad_proofs += ids[proofs.is_damaged].tolist()
    checked.num_unproven += int((~proofs.is_proven & ~proofs.is_damaged).sum())


def _check_vectors(
    checked: CheckedRows,
    collection: str,
    head: int | None,
    ids: Sequence[int],
    by_id: Mapping[int, NDArray[np.float32]],
    expected: NDArray[np.uint32],
    is_proven: NDArray[np.bool_],
) -> None:
    is_there = np.array([row_id in by_id for row_id in ids], bool)
    all_ids = np.array(ids, np.int64)
    _note(checked.missing, collection, all_ids[~is_there])
    if not is_there.any():
        return
    stored_ids = all_ids[is_there]
    vectors = np.array([by_id[row_id] for row_id in stored_ids.tolist()], np.float32)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    is_usable = np.isfinite(norms) & (norms > 0)
    _note(checked.unusable, collection, stored_ids[~is_usable])
    differs = vector_hashes(vectors) != expected[is_there]
    altered = checked.altered_standard if head is None else checked.altered
    _note(altered, collection, stored_ids[is_usable & is_proven[is_there] & differs])
    if head is not None:
        checked.sums[head] += ImportanceSums.of(vectors[is_usable][:, None, :])


def _note(found: dict[str, Ids], collection: str, ids: NDArray[np.int64]) -> None:
    if len(ids):
        found.setdefault(collection, []).extend(ids.tolist())
