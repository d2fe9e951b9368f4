"""What filters read of a Milvus Lite collection, kept in memory while nothing changes it.

Lite evaluates a JSON condition in Python on every row with its vector, a second for 20,000
rows. Its one owner is this process, so this process knows when a row changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from mrag_pipeline.domain.filters import FilterableRow

# How often a collection was changed here, by database and collection: several indexes of a
# process may have the same database open.
_changes: Counter[tuple[Path, str]] = Counter()

Rows = Mapping[int, FilterableRow]  # by id


@contextmanager
def changing(path: Path | None, collection: str) -> Iterator[None]:
    """What was read before or meanwhile is not kept. None, a server's path: nothing ever is."""
    if path is not None:
        _changes[path, collection] += 1
    try:
        yield
    finally:
        if path is not None:
            _changes[path, collection] += 1


class LiteRows:
    """The rows of one database's chunks collections."""

    def __init__(self, path: Path, read: Callable[[str], Rows]) -> None:
        """Nothing read yet.

        Args:
            read: reads all of a collection.
        """
        self._path = path
        self._read = read
        self._known: dict[str, tuple[int, Rows]] = {}
        self._lock = Lock()

    def of(self, collection: str) -> Rows:
        """The collection's rows as they are now."""
        with self._lock:
            change = _changes[self._path, collection]
            kept = self._known.get(collection)
            if kept is None or kept[0] != change:
                self._forget_changed()
                kept = (change, self._read(collection))
                self._known[collection] = kept
            return kept[1]

    def _forget_changed(self) -> None:
        """Dropped collections too: the rows of retired versions would stay for ever."""
        for name, (change, _) in list(self._known.items()):
            if change != _changes[self._path, name]:
                del self._known[name]
