"""Looks into a version without a question: its documents, one of them, a passage's neighbours.

A look is a value that travels to wherever the index is open, and is taken there of one version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not, matches
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import STANDARD
from mrag_pipeline.ports import BrowsedIndex, ChunkRow, SearchRequest, TextSearchRequest
from mrag_pipeline.query.filter import search_filtered
from mrag_pipeline.query.joint_search import Ranked
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.settings.filtering import FilterSpec

T_co = TypeVar("T_co", covariant=True)

_ROUNDS = 4  # of matching rows: a document of many passages must not crowd out the others
_ROWS_PER_DOCUMENT = 16
_IDS_PER_CONDITION = 256  # what one `in` may have
_BY_WORDS = 256  # passages whose title or id may have the words anywhere
_PASSAGES_PER_NEIGHBOUR = 4  # a near document is often near with several passages


class Look(Protocol[T_co]):
    """Something to read of a version."""

    def of(self, index: BrowsedIndex, record: VersionRecord) -> T_co:
        """What there is.

        Raises: IndexBusy, IndexUnavailable, NoLiveVersion.
        """


@dataclass(frozen=True, slots=True)
class FoundDocuments:
    """Documents, each shown by one of its passages."""

    version: str
    rows: tuple[ChunkRow, ...]


@dataclass(frozen=True, slots=True)
class FindDocuments:
    """Looks for documents by the beginning of their id or title; without a text for any.

    A text is tried as it is, in lower case and with a capital. Then come documents whose title or
    id has it anywhere, of the passages that its words find best.
    """

    text: str
    limit: int
    only: Filter | None = None  # what the caller may see

    def of(self, index: BrowsedIndex, record: VersionRecord) -> FoundDocuments:
        """At most `limit` documents, those that begin with the text first."""
        by_document: dict[str, ChunkRow] = {}
        for row in (*self._beginning(index, record), *self._having(index, record)):
            by_document.setdefault(row.document_id, row)
        return FoundDocuments(record.version, tuple(by_document.values())[: self.limit])

    def _beginning(self, index: BrowsedIndex, record: VersionRecord) -> list[ChunkRow]:
        collection = record.chunks_collection()
        rows: dict[str, ChunkRow] = {}
        for _ in range(_ROUNDS):
            left = self.limit - len(rows)
            asked = _ROWS_PER_DOCUMENT * left
            ids = index.matching(collection, self._wanted(list(rows)), limit=asked)
            for row in index.chunks(collection, ids.tolist()).values():
                known = rows.get(row.document_id)
                if known is None or row.ordinal < known.ordinal:
                    rows[row.document_id] = row
            if len(ids) < asked or len(rows) >= self.limit:
                break
        if not self.text:
            return list(rows.values())
        return sorted(rows.values(), key=lambda row: row.document_id)

    def _wanted(self, known: Sequence[str]) -> Filter:
        spellings = dict.fromkeys((self.text, self.text.lower(), self.text.capitalize()))
        fields = ("document_id", "title") if self.text else ("document_id",)
        conditions = [Condition(field, "prefix", text) for field in fields for text in spellings]
        wanted: list[Filter] = [AnyOf(tuple(conditions))]
        if self.only is not None:
            wanted.append(self.only)
        for start in range(0, len(known), _IDS_PER_CONDITION):
            some = tuple(known[start : start + _IDS_PER_CONDITION])
            wanted.append(Not(Condition("document_id", "in", some)))
        return All(tuple(wanted))

    def _having(self, index: BrowsedIndex, record: VersionRecord) -> list[ChunkRow]:
        lexical = record.lexical_collection()
        if not self.text or lexical is None or record.lexical is None:
            return []
        request = TextSearchRequest(lexical, (self.text,), _BY_WORDS, record.lexical)
        [ranking] = index.search([request])
        ids = [chunk_id for chunk_id in ranking.ids[0].tolist() if chunk_id >= 0]
        found = index.chunks(record.chunks_collection(), ids)
        rows = [found[chunk_id] for chunk_id in ids if chunk_id in found]
        text = self.text.casefold()
        return [
            row
            for row in rows
            if text in f"{row.title}\n{row.document_id}".casefold()
            and (self.only is None or matches(self.only, row))
        ]


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """Looks at one document's passages."""

    document_id: str
    only: Filter | None = None

    def of(self, index: BrowsedIndex, record: VersionRecord) -> FoundDocuments | None:
        """Its passages, by ordinal; None if there is none, or if `only` does not match it."""
        rows = index.chunks_of_document(record.chunks_collection(), self.document_id)
        if not rows or (self.only is not None and not matches(self.only, rows[0])):
            return None
        return FoundDocuments(record.version, tuple(rows))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A near document, shown by its nearest passage."""

    row: ChunkRow
    cosine: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A passage's place in every space: the documents around it."""

    version: str
    row: ChunkRow
    by_voter: Mapping[str, tuple[Neighbour, ...]]  # every head, then the standard vector


@dataclass(frozen=True, slots=True)
class FindNeighbours:
    """Looks for the k other documents nearest to a passage, in each head and as a whole."""

    chunk_id: int
    k: int
    only: Filter | None = None

    def of(self, index: BrowsedIndex, record: VersionRecord) -> Neighbours | None:
        """The neighbours, nearest first; None if `only` does not match the passage."""
        chunks = record.chunks_collection()
        row = index.chunks(chunks, [self.chunk_id]).get(self.chunk_id)
        if row is None or (self.only is not None and not matches(self.only, row)):
            return None
        collections = {
            **dict(zip(map(str, record.encoder.heads), record.head_collections(), strict=True)),
            STANDARD: chunks,
        }
        ranked = self._ranked(index, record, list(collections.values()))
        ids = {int(i) for ranking in ranked if ranking for i in ranking.ids[0] if i >= 0}
        documents, _ = index.look_up(chunks, sorted(ids), ())
        nearest = [
            []
            if ranking is None
            else _of_others(
                zip(ranking.ids[0].tolist(), ranking.scores[0].tolist(), strict=True),
                documents,
                row.document_id,
                self.k,
            )
            for ranking in ranked
        ]
        rows = index.chunks(chunks, sorted({chunk_id for near in nearest for chunk_id, _ in near}))
        by_voter = {
            voter: tuple(Neighbour(rows[i], cosine) for i, cosine in near if i in rows)
            for voter, near in zip(collections, nearest, strict=True)
        }
        return Neighbours(record.version, row, by_voter)

    def _ranked(
        self, index: BrowsedIndex, record: VersionRecord, collections: Sequence[str]
    ) -> Ranked:
        limit = _PASSAGES_PER_NEIGHBOUR * (self.k + 1)
        requests = []
        for collection in collections:
            vector = index.vectors(collection, [self.chunk_id])[self.chunk_id]
            requests.append(SearchRequest(collection, vector[None, :], limit))
        if self.only is None:
            return list(index.search(requests))
        [ranked] = search_filtered(
            index,
            record.chunks_collection(),
            record.num_chunks,
            self.only,
            [requests],
            Deadline(None),
            FilterSpec(),
        )
        return ranked


def _of_others(
    hits: Iterable[tuple[int, float]], documents: Mapping[int, str], own: str, k: int
) -> list[tuple[int, float]]:
    """The best passage of each of the k nearest other documents."""
    best: dict[str, tuple[int, float]] = {}
    for chunk_id, cosine in hits:
        document_id = documents.get(chunk_id, own)
        if document_id != own:
            best.setdefault(document_id, (chunk_id, cosine))
    return list(best.values())[:k]
