"""What a comparison has read, on disk until it is over: by items, in the order they were done."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.ports import DOCUMENT
from mrag_pipeline.stages.free_space import no_space
from mrag_pipeline.stages.sync.compare_items import Read
from mrag_pipeline.stages.sync.compared_rows import ROW, place_of


@dataclass(frozen=True, slots=True, eq=False)
class ReadOfSlice:
    """What was read of one slice; places are counted from its first."""

    rows: NDArray[np.void]  # of type DOCUMENT
    dead: tuple[tuple[int, DeadLetter], ...]
    remarks: Mapping[str, int]


class ReadSpool:
    """The answers of items that read the corpus; close it."""

    def __init__(self) -> None:
        """Empty; there is no file yet."""
        self._file: IO[bytes] | None = None
        self._length = 0
        self._parts: dict[int, list[tuple[int, int, int]]] = {}  # start, rows, bytes of the rest

    def add(self, read: Read) -> None:
        """Adds what was read of an item, or of some of its slices.

        Raises: StorageFull.
        """
        with no_space(tempfile.gettempdir(), "what is read of the corpus's files"):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mrag-reads-")  # noqa: SIM115
            rows = read.rows.tobytes()
            dead = [[place, *astuple(letter)] for place, letter in read.dead]
            rest = json.dumps([dead, list(read.remarks.items())]).encode()
            self._file.seek(self._length)
            self._file.write(rows + rest)
            self._file.flush()
        self._parts.setdefault(read.index, []).append((self._length, len(read.rows), len(rest)))
        self._length += len(rows) + len(rest)

    def by_slice(self, index: int, num_slices: int) -> Iterator[ReadOfSlice]:
        """What was read of each of an item's slices."""
        rows, dead, remarks = self._of(index)
        rows = rows[np.argsort(rows["place"])]
        dead.sort(key=lambda placed: placed[0])
        firsts = [place_of(index, number, 0) for number in range(num_slices)]
        starts = np.searchsorted(rows["place"], np.array(firsts, np.int64)).tolist()
        letters = [place for place, _ in dead]
        of_letters = np.searchsorted(letters, firsts).tolist()
        for number, first in enumerate(firsts):
            stop = starts[number + 1] if number + 1 < num_slices else len(rows)
            last = of_letters[number + 1] if number + 1 < num_slices else len(dead)
            own = rows[starts[number] : stop]
            kept = np.empty(len(own), DOCUMENT)
            for name in DOCUMENT.names or ():
                kept[name] = own[name]
            letters_of = dead[of_letters[number] : last]
            yield ReadOfSlice(
                kept,
                tuple((place - first, letter) for place, letter in letters_of),
                remarks.get(number, {}),
            )

    def close(self) -> None:
        """Removes the file."""
        if self._file is not None:
            self._file.close()

    def _of(
        self, index: int
    ) -> tuple[NDArray[np.void], list[tuple[int, DeadLetter]], dict[int, dict[str, int]]]:
        rows = [np.empty(0, ROW)]
        dead: list[tuple[int, DeadLetter]] = []
        remarks: dict[int, dict[str, int]] = {}
        for start, num_rows, rest_bytes in self._parts.get(index, ()):
            assert self._file is not None
            self._file.seek(start)
            rows.append(np.frombuffer(self._file.read(num_rows * ROW.itemsize), ROW))
            letters, counts = json.loads(self._file.read(rest_bytes))
            dead += [(place, DeadLetter(*fields)) for place, *fields in letters]
            remarks |= dict(counts)
        return np.concatenate(rows), dead, remarks
