"""The items that read a corpus; which files they read is kept on disk, not in memory.

A corpus of ten million small files has ten million slices. An item gets its own from the disk when
it is sent to a worker, or done here.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import IO, Any

from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.stages.free_space import no_space


@dataclass(frozen=True, slots=True)
class ReadItem:
    """Read some slices of the corpus, in order."""

    index: int
    slices: tuple[Slice, ...]
    num_bytes: int


class PlannedRead:
    """A `ReadItem` whose slices are on disk; as that item it reaches another process."""

    __slots__ = ("_length", "_plan", "_start", "first", "index", "last", "num_bytes")

    def __init__(self, plan: ReadPlan, shard: Shard, start: int, length: int) -> None:
        self.index = shard.index
        self.num_bytes = shard.num_bytes
        self.first, self.last = shard.first, shard.last
        self._plan, self._start, self._length = plan, start, length

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Read anew each time."""
        return self._plan.read(self._start, self._length)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadItem, (self.index, self.slices, self.num_bytes)


class ReadPlan:
    """All items that read a corpus. Use it as a context: its file goes with the block."""

    def __init__(self) -> None:
        """Empty."""
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="mrag-slices-")  # noqa: SIM115
        self._length = 0
        self.items: list[PlannedRead] = []

    def __enter__(self) -> ReadPlan:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def fill(self, shards: Iterable[Shard]) -> None:
        """An item for each of these pieces of the corpus, numbered from 0.

        Raises: StorageFull; what listing the corpus raises.
        """
        for shard in shards:
            content = json.dumps([astuple(piece) for piece in shard.slices]).encode()
            packed = zlib.compress(content, 1)
            with no_space(tempfile.gettempdir(), "the list of the corpus's files"):
                self._file.write(packed)
                self._file.flush()
            self.items.append(PlannedRead(self, shard, self._length, len(packed)))
            self._length += len(packed)

    def read(self, start: int, length: int) -> tuple[Slice, ...]:
        """The slices that were packed there."""
        self._file.seek(start)
        return tuple(
            Slice(*fields) for fields in json.loads(zlib.decompress(self._file.read(length)))
        )
