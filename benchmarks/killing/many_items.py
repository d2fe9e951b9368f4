"""What makes a small corpus one of many items, some of which are slow: for commands on Ray workers.

`watched_command.py` calls it in the command's own process. Sizes are set in this process alone:
items are cut here. A slow item is slow in its worker, which imports this module.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mrag_pipeline.config import Config
from mrag_pipeline.runtime import pools
from mrag_pipeline.stages.ingest import verify_items
from mrag_pipeline.stages.ingest.load_items import Loader
from mrag_pipeline.stages.sync import apply_items, compare_items, item_comparison
from mrag_pipeline.stages.versions import export, row_items

ITEMS = "MRAG_KILLS_ITEMS"  # of a command's environment
SMALL, SLOW = "small", "slow"  # slow: small ones, too

_EACH_S = 0.05  # that every item takes longer
_SLOW_S = 4.0  # the most that a slow one does: after 2 s it is given to a second worker
_FIRST = 4  # of a worker's items: one of these is slow

# Constants of the modules that cut items.
_SIZES = (
    (verify_items, "ITEM_BYTES", 1),
    (row_items, "BLOCK_ROWS", 12),
    (item_comparison, "ITEM_BYTES", 600),
    (compare_items, "MARKS_ROWS", 24),
    (apply_items, "SUMS_IDS", 12),
    (apply_items, "DELETED_IDS", 12),
    (export, "CHUNKS_PER_SHARD", 16),
)

Work = Callable[[Any], Any]


def prepare() -> None:
    """Does what this process's environment says; before flows are imported."""
    how = os.environ.get(ITEMS, "")
    if how:
        _cut_small()
    if how == SLOW:
        _have_slow_ones()


def _cut_small() -> None:
    """As many items as a large corpus has, and an export of several shards."""
    for module, name, size in _SIZES:
        setattr(module, name, size)


def _have_slow_ones() -> None:
    """Whatever is opened in a worker from now on is slow at times."""
    names = vars(pools)
    pools_of, work_of = names["phase_pools"], names["embed_work"]

    def slow_pools(config: Config, open_work: Any, *arguments: Any, **options: Any) -> Any:
        return pools_of(config, OpensSlow(open_work), *arguments, **options)

    def slow_embed_work(*arguments: Any) -> Any:
        return OpensSlow(work_of(*arguments))

    names.update(phase_pools=slow_pools, embed_work=slow_embed_work)


@dataclass(frozen=True, slots=True)
class OpensSlow:
    """Opens what another opens; called in a worker, to which it is sent."""

    inner: Callable[[Config], Work]

    def __call__(self, config: Config) -> Work:
        """The other's work, slow at one of its first items."""
        return Slow(self.inner(config), random.Random())


class Slow:
    """Does as another: each item takes a moment longer, and one of the first takes seconds.

    These pass before the item, after it, or while a collection gets its rows.
    """

    def __init__(self, inner: Work, chance: random.Random) -> None:
        self._slow_number = chance.randrange(_FIRST)
        self._seconds = chance.random() * _SLOW_S
        self._place = chance.choice(("before", "after", "within"))
        self._number = 0
        self._left_s = 0.0  # to pass at the next rows
        is_loader = isinstance(inner, Loader)
        self._inner = replace(inner, advance=self._rows) if is_loader else inner  # type: ignore[type-var]
        if not is_loader and self._place == "within":
            self._place = "after"

    def __call__(self, item: Any) -> Any:
        """The other's answer."""
        is_slow = self._number == self._slow_number
        self._number += 1
        time.sleep(_EACH_S)
        if is_slow and self._place == "before":
            time.sleep(self._seconds)
        self._left_s = self._seconds if is_slow and self._place == "within" else 0.0
        answer = self._inner(item)
        if is_slow and self._place == "after":
            time.sleep(self._seconds)
        return answer

    def _rows(self, _num_rows: int) -> None:
        left_s, self._left_s = self._left_s, 0.0
        time.sleep(left_s)
