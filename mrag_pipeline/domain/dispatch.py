"""Which shard a worker gets next, and which shards a second worker is given too. Pure.

Some files can only be read from their start: compressed ones, JSON arrays. Their shards go to
one worker one after the other, so that it reads on where it stopped; two workers share such a
file by halves. Shards of other files are taken in order, for any worker reads them as cheaply.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from itertools import islice

from mrag_pipeline.domain.planning import Shard

MIN_FINISHED = 3  # shards, before any other is called late
MIN_LATE_S = 2.0  # a shard that took no longer is never late
_REMEMBERED = 1_000  # finished shards; the pace of a long run may change


class ShardQueue:
    """Shards that no worker has. Every shard comes out once, unless it is put back."""

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
        """The next shard for a worker that was given `last` before.

        One that was put back; else the one that reads on from its last; else the next in order;
        else the second half of the longest run that another worker is on.
        Raises: IndexError if it is empty.
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
        """The shard is the next to be taken."""
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
    """How long shards take by their size, and which are late."""

    def __init__(self, factor: float) -> None:
        """Late is what takes more than `factor` times the median; 0: nothing ever is."""
        self._factor = factor
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)  # seconds a source byte

    def add(self, shard: Shard, seconds: float) -> None:
        """A shard was finished."""
        self._rates.append(seconds / max(1, shard.num_bytes))

    def is_late(self, shard: Shard, seconds: float) -> bool:
        """Whether a shard that has been worked on for so long is far behind the others."""
        if self._factor <= 0 or seconds < MIN_LATE_S or len(self._rates) < MIN_FINISHED:
            return False
        usual = statistics.median(self._rates) * max(1, shard.num_bytes)
        return seconds > self._factor * usual
