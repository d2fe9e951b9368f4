"""The ids of a collection or of staging, rising, in a file if there are many.

Chunk ids are hashes, so a 256th of all numbers has about a 256th of the ids: each such range is
sorted on its own. Memory: `_IDS_IN_MEMORY` ids, or a range; disk: 8 bytes an id, twice while they
are sorted. Shape legend: N ids, n some of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import accumulate, pairwise
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.sampling import sampled_places
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.stages.free_space import no_space
from mrag_pipeline.stages.spilled_rows import NUM_BUCKETS, SpilledRows

Ids = NDArray[np.int64]

NUM_RANGES = NUM_BUCKETS  # of numbers, equally wide
_IDS_IN_MEMORY = 500_000  # 4 MB, some 20 while they are sorted; more wait on disk
_ROW = np.dtype([("key", np.int64)])
_WHAT = "the ids of chunks"
_RANGE_BITS = (ID_END // NUM_RANGES).bit_length() - 1  # 55
_NO_IDS: Ids = np.zeros(0, np.int64)


class SortedIds:
    """Ids, rising, each once."""

    def __init__(self, blocks: Iterable[Ids]) -> None:
        """Reads and sorts all.

        Args:
            blocks: of any size and order; an id may be there more than once.
        Raises: StorageFull.
        """
        self.sum = IdSum()  # over the ids, each once
        self._file = temporary_file(8 * _IDS_IN_MEMORY)
        lengths, repeated = np.zeros(NUM_RANGES, np.int64), [_NO_IDS]
        with closing(SpilledRows(_ROW, range_numbers, _IDS_IN_MEMORY, _WHAT)) as rows:
            for block in blocks:
                rows.add(np.ascontiguousarray(block, np.int64).view(_ROW))
            with no_space(tempfile.gettempdir(), _WHAT):
                for part in rows.buckets():
                    ids, counts = np.unique(part["key"], return_counts=True)
                    self._file.write(ids.tobytes())
                    lengths += np.bincount(range_numbers(ids), minlength=NUM_RANGES)
                    repeated.append(ids[counts > 1])
                    self.sum += IdSum.of(ids)
                self._file.flush()
        self.twice = np.concatenate(repeated)  # those that were there more than once, rising
        self._ends = [0, *accumulate(lengths.tolist())]

    def __len__(self) -> int:
        return self._ends[-1]

    def __reduce__(self) -> Any:
        raise TypeError("ids in a file are not sent to another process: send an IdBlock of them")

    def close(self) -> None:
        """Removes the file."""
        self._file.close()

    def between(self, start: int, stop: int) -> Ids:
        """(n,) the ids at the places `start` to `stop` - 1, rising."""
        self._file.seek(8 * start)
        return np.frombuffer(self._file.read(8 * (stop - start)), np.int64)

    def blocks(self, size: int) -> Iterator[IdBlock]:
        """All of them in blocks of so many; they are read only when they are used."""
        for start in range(0, len(self), size):
            yield IdBlock(self, start, min(start + size, len(self)))

    def ranges(self) -> Iterator[Ids]:
        """All of them, (n,) for each of 256 ranges of numbers, the same for any ids; n may be 0."""
        return (self.between(start, stop) for start, stop in pairwise(self._ends))

    def sampled(self, size: int, seed: int) -> Ids:
        """(n,) of the ids drawn at random, rising: `size` of them, or all if there are fewer."""
        places = sampled_places(len(self), size, seed)
        parts = [_NO_IDS]
        for start, stop in pairwise(self._ends):
            own = places[slice(*np.searchsorted(places, (start, stop)))]
            if len(own):
                parts.append(self.between(start, stop)[own - start])
        return np.concatenate(parts)


class IdBlock:
    """Some of sorted ids: small while it waits, its ids are read when it is used or sent."""

    __slots__ = ("_source", "_start", "_stop")

    def __init__(self, source: SortedIds | Ids, start: int, stop: int) -> None:
        """Reads nothing.

        Args:
            start, stop: places in the source.
        """
        self._source, self._start, self._stop = source, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __reduce__(self) -> Any:
        return IdBlock, (self.ids(), 0, len(self))

    def ids(self) -> Ids:
        """(n,) its ids, rising."""
        if isinstance(self._source, SortedIds):
            return self._source.between(self._start, self._stop)
        return self._source[self._start : self._stop]


def lacking(ids: SortedIds, others: SortedIds) -> Ids:
    """(n,) those of the ids that the others lack, rising."""
    return np.concatenate([_NO_IDS, *lacking_ranges(ids, others)])


def lacking_ranges(ids: SortedIds, others: SortedIds) -> Iterator[Ids]:
    """As `lacking`, for each of the 256 ranges: (n,), rising; n may be 0."""
    for own, of_others in zip(ids.ranges(), others.ranges(), strict=True):
        yield np.setdiff1d(own, of_others, assume_unique=True)


def temporary_file(bytes_in_memory: int) -> IO[bytes]:
    """A file without a name, so that none is left when the process is killed.

    Args:
        bytes_in_memory: it is on disk only if it has more.
    """
    return tempfile.SpooledTemporaryFile(bytes_in_memory, prefix="mrag-ids-")


def range_numbers(ids: Ids) -> NDArray[np.uint8]:
    """(N,) the number of the range, 0 to 255, that each of (N,) ids is in; of one below 0, 0."""
    return (np.maximum(ids, 0) >> _RANGE_BITS).astype(np.uint8)
