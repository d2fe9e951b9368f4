"""Documents of a version, chosen by chance and put together from its chunks.

The whole chunks collection is read once, ids only; memory grows with the sample, not the corpus.
A document is chosen by the hash of its id, so that two versions of a corpus give the same ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.made_questions import SAMPLE_DOCUMENTS, chance
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, ReadableVersion

_MOST_CHUNKS = 64  # of a document that are read


@dataclass(slots=True)
class SampledDocument:
    """Which document was chosen, and where its text is."""

    id: str
    fingerprint: str
    chunk_ids: list[int]  # the smallest ones, rising


def sample_documents(
    index: ReadableVersion, record: VersionRecord, seed: int, count: int = SAMPLE_DOCUMENTS
) -> list[SampledDocument]:
    """So many documents of the version, or all if it has fewer, in the order of chance."""
    chosen: dict[str, SampledDocument] = {}
    # The worst chance first: -chance and the id of each chosen document.
    heap: list[tuple[int, str]] = []
    for block in index.marks(record.chunks_collection()):
        for mark in block:
            known = chosen.get(mark.document_id)
            if known is None:
                place = -int.from_bytes(chance(seed, mark.document_id), "big")
                if len(heap) == count and place < heap[0][0]:
                    continue
                known = SampledDocument(mark.document_id, mark.fingerprint, [])
                chosen[mark.document_id] = known
                heapq.heappush(heap, (place, mark.document_id))
                if len(heap) > count:
                    del chosen[heapq.heappop(heap)[1]]
            known.chunk_ids.append(mark.id)
            if len(known.chunk_ids) >= 2 * _MOST_CHUNKS:
                known.chunk_ids = sorted(known.chunk_ids)[:_MOST_CHUNKS]
    for document in chosen.values():
        document.chunk_ids = sorted(document.chunk_ids)[:_MOST_CHUNKS]
    return sorted(chosen.values(), key=lambda document: chance(seed, document.id))


def read_documents(
    index: ReadableVersion, record: VersionRecord, sample: Sequence[SampledDocument]
) -> list[Document]:
    """The texts of sampled documents, in their order; those that are gone by now are left out."""
    documents = []
    for sampled in sample:
        rows = index.chunks(record.chunks_collection(), sampled.chunk_ids)
        if rows:
            documents.append(_document(rows))
    return documents


def _document(rows: Mapping[int, ChunkRow]) -> Document:
    """The document of these chunks: what overlaps stands once, what was left out is white space."""
    ordered = sorted(rows.values(), key=lambda row: row.start)
    pieces: list[str] = []
    end = ordered[0].start
    for row in ordered:
        if row.start > end:
            # Chunks lose the white space at their ends; a longer gap is the end of a paragraph.
            pieces.append(" " if row.start == end + 1 else "\n\n")
        pieces.append(row.text[max(0, end - row.start) :])
        end = max(end, row.end)
    return Document(ordered[0].document_id, "".join(pieces), ordered[0].title)
