"""Last step: the documents of candidate chunks, and the rows of what is shown, are read.

A document's id may come from a cache (decision 46); a row that is shown is always read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mrag_pipeline.domain.filters import matches
from mrag_pipeline.domain.voting import Hit
from mrag_pipeline.ports import ChunkLookup, ChunkRow
from mrag_pipeline.query.vote import Votes


class DocumentLookup(Protocol):
    """An index, or a cache before one."""

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """As `ChunkLookup.look_up`; a document may be that of a row deleted a while ago."""


def look_up_candidates(
    lookup: DocumentLookup, collection: str, all_votes: Sequence[Votes], read_early: int
) -> tuple[dict[int, str], dict[int, ChunkRow]]:
    """The document of each candidate chunk that exists, and rows of those likely to be shown.

    Args:
        collection: the chunks collection.
        read_early: chunks for each document wanted. The best passages of what will be chosen are
            nearly always among so many.
    """
    candidates = dict.fromkeys(chunk for votes in all_votes for chunk in votes.candidates)
    likely = dict.fromkeys(
        chunk
        for votes in all_votes
        for chunk in votes.candidates[: read_early * votes.plan.question.k]
    )
    return lookup.look_up(collection, list(candidates), list(likely))


def read_hits(
    index: ChunkLookup,
    collection: str,
    votes_of: Mapping[int, Votes],
    documents: Mapping[int, str],
    hits: dict[int, list[Hit]],
    rows: dict[int, ChunkRow],
    choose: Callable[[Votes, Mapping[int, str]], list[Hit]],
) -> None:
    """Adds the rows of all hits' best passages; replaces a hit whose row may not be shown.

    A sync may have deleted the row since it was a candidate. And with a filter this is the last
    check: whatever the index answered, a document that does not match is not shown.

    Args:
        votes_of, hits: by question; `hits` is updated.
        documents: of the candidates that exist.
        rows: those read so far; is updated.
        choose: the hits of one question among these documents.
    """
    refused: dict[int, set[int]] = {number: set() for number in votes_of}
    while True:
        best = {number: [hit.chunk_ids[0] for hit in hits[number]] for number in votes_of}
        unread = dict.fromkeys(
            chunk for chunks in best.values() for chunk in chunks if chunk not in rows
        )
        if unread:
            rows |= index.chunks(collection, list(unread))
        settled = True
        for number, votes in votes_of.items():
            wanted = votes.plan.question.filter
            shown = {
                chunk
                for chunk in best[number]
                if chunk in rows and (wanted is None or matches(wanted, rows[chunk]))
            }
            if len(shown) < len(best[number]):
                settled = False
                refused[number] |= set(best[number]) - shown
                remaining = {
                    chunk: document
                    for chunk, document in documents.items()
                    if chunk not in refused[number]
                }
                hits[number] = choose(votes, remaining)
        if settled:
            return
