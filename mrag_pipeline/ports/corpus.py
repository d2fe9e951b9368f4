"""Where documents come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

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

    def reading(self) -> Mapping[str, Any]:
        """How records become documents, found out once for the whole corpus; plain values.

        A reader that is opened with it reads other files, and later ones, alike. {} if there is
        nothing to find out.
        Raises: as `slices`; ConfigError.
        """

    def left_out(self) -> Iterator[str]:
        """The files beside the corpus's own that are not read, sorted by path."""

    def describe(self) -> str:
        """One line for people: format, files, and the field mapping with what was inferred."""
