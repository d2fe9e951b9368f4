"""Caches the fields that filters read of a Milvus Lite collection, until a row changes.

Lite evaluates a JSON condition in Python on every row with its vector: one second for 20,000
rows. Only this process can have the database open, so it knows about every change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from mrag_pipeline.domain.filters import FilterableRow

# Number of changes by database and collection; shared, because several indexes of this process
# may have the same database open.
_num_changes: Counter[tuple[Path, str]] = Counter()

Rows = Mapping[int, FilterableRow]  # by id


@contextmanager
def changing(path: Path | None, collection: str) -> Iterator[None]:
    """Drops what was read before or during the change. A path of None is a server: no cache."""
    if path is not None:
        _num_changes[path, collection] += 1
    try:
        yield
    finally:
        if path is not None:
            _num_changes[path, collection] += 1


class LiteRows:
    """Caches the rows of one database's chunks collections."""

    def __init__(self, path: Path, read: Callable[[str], Rows]) -> None:
        """Starts with nothing cached.

        Args:
            read: reads all rows of a collection.
        """
        self._path = path
        self._read = read
        self._cached: dict[str, tuple[int, Rows]] = {}
        self._lock = Lock()

    def of(self, collection: str) -> Rows:
        """The collection's rows as they are now."""
        with self._lock:
            num_changes = _num_changes[self._path, collection]
            entry = self._cached.get(collection)
            if entry is None or entry[0] != num_changes:
                self._forget_changed()
                entry = (num_changes, self._read(collection))
                self._cached[collection] = entry
            return entry[1]

    def _forget_changed(self) -> None:
        """Drops changed and removed collections: else retired versions would stay in memory."""
        for name, (num_changes, _) in list(self._cached.items()):
            if num_changes != _num_changes[self._path, name]:
                del self._cached[name]
