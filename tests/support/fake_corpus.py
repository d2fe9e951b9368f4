"""A corpus in memory, for tests of whatever reads one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import EmptyCorpus, FingerprintMismatch
from mrag_pipeline.ports import ListedSlice, UnreadFile


class FakeCorpusReader:
    """A CorpusReader over what it is given; `stamp` may be changed to play a changed file."""

    def __init__(self, items: Sequence[Document | DeadLetter], stamp: str = "1") -> None:
        self.items = list(items)
        self.stamp = stamp

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        if not self.items:
            raise EmptyCorpus("the fake corpus holds nothing")
        first = held = 0
        for number, item in enumerate(self.items, 1):
            held += len(item.text.encode()) if isinstance(item, Document) else 1
            if held >= max_bytes or number == len(self.items):
                yield Slice("fake", "records", first, number, held, self.stamp)
                first, held = number, 0

    def listed_slices(
        self, max_bytes: int, is_known: Callable[[str, str], bool]
    ) -> Iterator[ListedSlice | UnreadFile]:
        if self.items and is_known("fake", self.stamp):
            yield UnreadFile("fake", self.stamp)
            return
        for piece in self.slices(max_bytes):
            yield ListedSlice(piece, self.stamp)

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        for piece in slices:
            if piece.stamp != self.stamp:
                raise FingerprintMismatch("the fake corpus has changed")
            yield from self.items[piece.start : piece.stop]

    def reading(self) -> dict[str, Any]:
        return {}

    def left_out(self) -> Iterator[str]:
        return iter(())

    def describe(self) -> str:
        return f"{len(self.items)} documents in memory"
