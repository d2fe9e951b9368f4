"""The rows of a version in memory, as far as a comparison reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mrag_pipeline.domain.documents import Document, document_fingerprint
from mrag_pipeline.ports import Mark


class FakeRows:
    """The chunks of a version: two of each document."""

    def __init__(self, documents: Sequence[Document]) -> None:
        step = 2**62 // max(1, len(documents))
        self.held = [
            Mark(step * number + chunk, document.id, document_fingerprint(document))
            for number, document in enumerate(documents)
            for chunk in (1, step // 2)
        ]

    def count(self, _: str) -> int:
        return len(self.held)

    def marks(self, _: str, start: int, stop: int) -> Iterator[Sequence[Mark]]:
        for mark in self.held:
            if start <= mark.id < stop:
                yield [mark]

    def marks_of(self, _: str, document_ids: Sequence[str]) -> list[Mark]:
        return [mark for mark in self.held if mark.document_id in document_ids]

    def look_up(self, _: str, ids: Sequence[int], __: object) -> tuple[dict[int, str], object]:
        return {mark.id: mark.document_id for mark in self.held if mark.id in ids}, {}
