"""Warns of a filter's field that no document has, or has with another type of value."""

from __future__ import annotations

from collections.abc import Sequence

from mrag_pipeline.domain.filter_fields import (
    KINDS,
    Holding,
    compared_kinds,
    fields_of,
    holds,
    holds_in_list,
    kind_in,
    unmatched,
)
from mrag_pipeline.domain.filters import All, Condition, Filter
from mrag_pipeline.ports import ChunkLookup, ChunkRow
from mrag_pipeline.query.question import Question

_SAMPLE = 32  # documents whose fields may be suggested
_EVERY = Condition("document_id", "exists")


def filter_warnings(
    index: ChunkLookup, collection: str, question: Question, found: Sequence[ChunkRow]
) -> list[str]:
    """One warning for each field of the question's filter that cannot match.

    The index is asked only about fields that no document found shows to be right, and only of
    documents that the caller may see.

    Args:
        collection: the chunks collection.
        found: rows of the documents found.
    Raises: IndexBusy, IndexUnavailable.
    """
    if question.filter is None:
        return []
    visible = question.visible
    given = set() if visible is None else set(compared_kinds(visible))

    def exists(wanted: Filter) -> bool:
        within = wanted if visible is None else All((visible, wanted))
        return len(index.matching(collection, within, limit=1)) > 0

    warnings = []
    for field, kinds in compared_kinds(question.filter).items():
        if field in given or any(kind_in(row, field) in kinds for row in found):
            continue
        held: list[Holding] = [kind for kind in KINDS if exists(holds(field, kind))]
        if not kinds.isdisjoint(held):
            continue
        ids = index.matching(collection, visible or _EVERY, limit=_SAMPLE).tolist()
        sample = list(index.chunks(collection, ids).values())
        in_list = holds_in_list(question.filter, field)
        is_seen = any(kind_in(row, field) == "list" for row in sample)
        if is_seen or (in_list is not None and exists(in_list)):
            held.append("list")
        if kinds.isdisjoint(held):
            warnings.append(unmatched(field, kinds, held, fields_of(sample)))
    return warnings
