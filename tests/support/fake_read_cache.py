"""A ReadCache that lives in memory; it passes tests/contracts/test_read_cache.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.ports import DOCUMENT, SliceRead


def a_read(path: str, number: int = 0, validator: str = "1", num_rows: int = 2) -> SliceRead:
    """The number-th slice of a file, of three things each: one is set aside."""
    rows = np.zeros(num_rows, DOCUMENT)
    rows["key"] = 2**63 + np.arange(num_rows, dtype=np.uint64) + np.uint64(number)
    rows["print"], rows["size"] = number + 1, 7
    letter = DeadLetter("ä\udcff", f"{path}:{number}", "not UTF-8", "0f", 3)
    piece = Slice(path, "records", 3 * number, 3 * number + 3, 100, "stamp")
    return SliceRead(piece, validator, rows, ((1, letter),), {"cut": 2} if number else {})


class FakeFilesRead:
    """The FilesRead port in memory."""

    problem = ""

    def __init__(self, reads: Iterable[SliceRead]) -> None:
        self._files: dict[tuple[str, str], list[SliceRead]] = {}
        for read in reads:
            self._files.setdefault((read.piece.path, read.validator), []).append(read)

    @property
    def num_files(self) -> int:
        return len(self._files)

    def has(self, path: str, validator: str) -> bool:
        return (path, validator) in self._files

    def slices(self, path: str, validator: str) -> Iterator[SliceRead]:
        yield from self._files.get((path, validator), [])


class FakeReadCache:
    """The ReadCache port in memory."""

    def __init__(self) -> None:
        self.num_writes = 0
        self._held: tuple[str, FakeFilesRead] | None = None

    def load(self, key: str) -> FakeFilesRead | None:
        return self._held[1] if self._held is not None and self._held[0] == key else None

    def write(self, key: str, reads: Iterable[SliceRead]) -> None:
        self.num_writes += 1
        self._held = key, FakeFilesRead(reads)
