"""Where documents come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document that the corpus has as a version has it; it was not read."""

    document_id: str


@dataclass(frozen=True, slots=True)
class ListedSlice:
    """A slice of a file that was opened, and the file's validator."""

    piece: Slice
    validator: str  # equal later only if the file's content is; "" where there is none


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file that is as it was; it was not opened."""

    path: str
    validator: str


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


@runtime_checkable
class ChangesReader(Protocol):
    """A reader that can tell what has not changed since its `reading` was kept."""

    def knows_changes(self) -> bool:
        """Whether `changes` may leave a document unread; it reads nothing to say so."""

    def changes(
        self, is_known: Callable[[str], bool], overlap_s: float
    ) -> Iterator[Document | DeadLetter | Unchanged]:
        """The whole corpus once; documents that are known and cannot have changed are not read.

        Args:
            is_known: whether a version has a document of that id.
            overlap_s: how late a change may have come after its own time.
        Raises: as `CorpusReader.read`.
        """


@runtime_checkable
class ListingReader(Protocol):
    """A reader that lists files, and can tell without opening one that it has not changed."""

    def listed_slices(
        self, max_bytes: int, is_known: Callable[[str, str], bool]
    ) -> Iterator[ListedSlice | UnreadFile]:
        """As `CorpusReader.slices`: each slice with a validator, or its file where it is known.

        Args:
            is_known: whether the slices of a file of this path and validator are known already;
                asked once for each file that has one.
        """
