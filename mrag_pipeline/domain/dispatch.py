"""Chooses the next shard for a worker, and tells which shards are late. Pure.

Some files can only be read from their start: compressed ones, JSON arrays. Their shards go to
one worker one after the other, so that it reads on where it stopped; two workers share such a
file by halves. Shards of other files are taken in order: any worker can seek to them.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from itertools import islice

from mrag_pipeline.domain.planning import Shard

MIN_FINISHED = 3  # shards; with fewer, none is late
MIN_LATE_S = 2.0  # a shard that has taken less is never late
_REMEMBERED = 1_000  # the last finished shards: the pace of a long run may change


class ShardQueue:
    """Shards that no worker has yet. Every shard is taken once, unless it is put back."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._first: deque[Shard] = deque()  # put back
        self._fresh: deque[deque[Shard]] = deque()  # runs that no worker is on, in order
        self._begun: dict[int, deque[Shard]] = {}  # by the shard before the run's first
        self._length = 0
        last: Shard | None = None
        for shard in shards:
            if last is not None and reads_on(last, shard):
                self._fresh[-1].append(shard)
            else:
                self._fresh.append(deque([shard]))
            last = shard
            self._length += 1

    def __len__(self) -> int:
        return self._length

    def take(self, last: Shard | None) -> Shard:
        """The next shard for a worker whose previous shard was `last`.

        In order of preference: a shard that was put back; the one that reads on from `last`; the
        next in order; the middle of the longest run that another worker is reading.
        Raises: IndexError if the queue is empty.
        """
        if self._first:
            self._length -= 1
            return self._first.popleft()
        if last is not None and last.index in self._begun:
            run = self._begun.pop(last.index)
        elif self._fresh:
            run = self._fresh.popleft()
        elif self._begun:
            run = self._second_half()
        else:
            raise IndexError("no shard is left")
        shard = run.popleft()
        if run:
            self._begun[shard.index] = run
        self._length -= 1
        return shard

    def put_back(self, shard: Shard) -> None:
        """Makes the shard the next to be taken."""
        self._first.appendleft(shard)
        self._length += 1

    def _second_half(self) -> deque[Shard]:
        before = max(self._begun, key=lambda index: len(self._begun[index]))
        run = self._begun.pop(before)
        middle = len(run) // 2
        if middle:
            self._begun[before] = deque(islice(run, middle))
        return deque(islice(run, middle, None))


def reads_on(last: Shard, shard: Shard) -> bool:
    """Whether the shard begins where the last one stopped in a file that is read from its start."""
    before, piece = last.slices[-1], shard.slices[0]
    return (
        piece.unit == "records"
        and (before.path, before.unit, before.stamp) == (piece.path, piece.unit, piece.stamp)
        and before.stop == piece.start
    )


class Pace:
    """Learns how long shards take for their size, and tells which are late."""

    def __init__(self, factor: float) -> None:
        """A shard is late after `factor` times the median time for its size; 0: never."""
        self._factor = factor
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)  # seconds a source byte

    def add(self, shard: Shard, seconds: float) -> None:
        """Records that a shard took `seconds`."""
        self._rates.append(seconds / max(1, shard.num_bytes))

    def is_late(self, shard: Shard, seconds: float) -> bool:
        """Whether a shard that a worker has had for `seconds` is far behind the others."""
        if self._factor <= 0 or seconds < MIN_LATE_S or len(self._rates) < MIN_FINISHED:
            return False
        usual = statistics.median(self._rates) * max(1, shard.num_bytes)
        return seconds > self._factor * usual
