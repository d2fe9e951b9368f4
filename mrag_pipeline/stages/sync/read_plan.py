"""The items that read a corpus; which files they read is kept on disk, not in memory.

A corpus of ten million small files has ten million slices. An item gets its own from the disk when
it is sent to a worker, or done here.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import IO, Any

from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.stages.free_space import no_space

_of_slice = attrgetter(*(own.name for own in fields(Slice)))  # astuple would copy deeply


@dataclass(frozen=True, slots=True)
class ReadItem:
    """Read some slices of the corpus, in order."""

    index: int
    slices: tuple[Slice, ...]
    num_bytes: int
    numbers: tuple[int, ...]  # of the slices among the item's


class PlannedRead:
    """A `ReadItem` whose slices are on disk; as that item it reaches another process.

    Some of its slices may be known already: they are not read.
    """

    __slots__ = ("_length", "_plan", "_start", "first", "index", "is_known", "last", "num_bytes")

    def __init__(
        self, plan: ReadPlan, shard: Shard, unread: Sequence[int], start: int, length: int
    ) -> None:
        to_read = [shard.slices[number] for number in unread]
        self.index = shard.index
        self.num_bytes = sum(piece.num_bytes for piece in to_read)
        self.is_known = not to_read
        self.first = to_read[0] if to_read else shard.first
        self.last = to_read[-1] if to_read else shard.last
        self._plan, self._start, self._length = plan, start, length

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All of them; read anew each time."""
        return self._plan.read(self._start, self._length)[0]

    @property
    def validators(self) -> tuple[str, ...]:
        """Of each slice's file; "" where there is none."""
        return self._plan.read(self._start, self._length)[1]

    def to_read(self) -> ReadItem:
        """The slices that are not known."""
        slices, _, numbers = self._plan.read(self._start, self._length)
        unread = tuple(slices[number] for number in numbers)
        return ReadItem(self.index, unread, self.num_bytes, numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        item = self.to_read()
        return ReadItem, (item.index, item.slices, item.num_bytes, item.numbers)


class ReadPlan:
    """All items that read a corpus, in a temporary file until it is closed."""

    def __init__(self) -> None:
        """Empty."""
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="mrag-slices-")  # noqa: SIM115
        self._length = 0
        self.items: list[PlannedRead] = []

    def close(self) -> None:
        """Lets go of its temporary file."""
        self._file.close()

    def add(self, shard: Shard, validators: Sequence[str], unread: Sequence[int]) -> None:
        """An item for this piece of the corpus; they come in order, numbered from 0.

        Args:
            validators: of each slice.
            unread: the numbers of the slices that are to be read.
        Raises: StorageFull.
        """
        slices = [_of_slice(piece) for piece in shard.slices]
        packed = zlib.compress(json.dumps([slices, [*validators], [*unread]]).encode(), 1)
        with no_space(tempfile.gettempdir(), "the list of the corpus's files"):
            self._file.seek(self._length)
            self._file.write(packed)
            self._file.flush()
        self.items.append(PlannedRead(self, shard, unread, self._length, len(packed)))
        self._length += len(packed)

    def read(
        self, start: int, length: int
    ) -> tuple[tuple[Slice, ...], tuple[str, ...], tuple[int, ...]]:
        """The slices that were packed there, their validators, and which are to be read."""
        self._file.seek(start)
        slices, validators, unread = json.loads(zlib.decompress(self._file.read(length)))
        return tuple(Slice(*fields) for fields in slices), tuple(validators), tuple(unread)
