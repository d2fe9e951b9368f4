"""Where documents come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice


class CorpusReader(Protocol):
    """Where documents come from."""

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """The whole corpus once, in a fixed order, in pieces of about `max_bytes` at most.

        Raises: CorpusNotFound, EmptyCorpus (no file), BrokenFile.
        """

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """What the slices hold, in order, in bounded memory.

        A document that cannot be read becomes a dead letter; it raises no error.
        Raises: CorpusNotFound, BrokenFile; FingerprintMismatch if a file changed since planning.
        """

    def describe(self) -> str:
        """One line for people: format, files, and the field mapping with what was inferred."""
