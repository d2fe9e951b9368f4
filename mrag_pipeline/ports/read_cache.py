"""What syncs have read of files, so that a file that has not changed need not be read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice

# Of a document, as a sync compares it: hashes of its id and its fingerprint, its text's length.
DOCUMENT = np.dtype([("key", "<u8"), ("print", "<u8"), ("size", "<i4")])


@dataclass(frozen=True, slots=True, eq=False)
class SliceRead:
    """What was read of one slice of a file."""

    piece: Slice
    validator: str  # of the file's content
    rows: NDArray[np.void]  # of type DOCUMENT, in the order of the slice
    dead: tuple[tuple[int, DeadLetter], ...]  # each with its place among all that was read
    remarks: Mapping[str, int]  # documents, by what is told of them


class FilesRead(Protocol):
    """All files that a sync has read. What is damaged counts as not read."""

    @property
    def num_files(self) -> int:
        """How many there are."""

    @property
    def problem(self) -> str:
        """What was found damaged so far, for people; "" if nothing was."""

    def has(self, path: str, validator: str) -> bool:
        """Whether the file of this path and validator was read, and what was read is whole."""

    def slices(self, path: str, validator: str) -> Iterator[SliceRead]:
        """What was read of a file that `has` knows, in order; together they are the whole file.

        Raises: StagingError if it was damaged meanwhile.
        """


class ReadCache(Protocol):
    """What the last sync of an index has read of its corpus's files."""

    def load(self, key: str) -> FilesRead | None:
        """What was read under the key; None if nothing was, or under another one.

        Raises: StagingError if it cannot be read.
        """

    def write(self, key: str, reads: Iterable[SliceRead]) -> None:
        """Replaces it, whole or not at all.

        Args:
            reads: of whole files; a file's follow each other.

        Raises: StorageFull, StagingError.
        """
