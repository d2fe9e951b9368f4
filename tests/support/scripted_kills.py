"""Kills at chosen writes: of files in staging, and of rows, records and the alias in an index.

`Killed` derives from BaseException, so no handler of ours takes it for an error: what the
process had in memory is gone with the objects, what was written stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pyarrow as pa

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, CollectionSpec, RangedLoads, VectorIndex
from mrag_pipeline.staging.atomic_folder import Folder


class Killed(BaseException):
    """The process ends here."""


def _end(point: str) -> None:
    raise Killed(point)


class Switch:
    """Counts the writes of a run, and ends it before one of them."""

    def __init__(self, at: int | None = None, end: Callable[[str], None] = _end) -> None:
        self.points: list[str] = []
        self._at = at
        self._end = end

    def before(self, point: str) -> None:
        """A write is about to happen."""
        self.points.append(point)
        if len(self.points) - 1 == self._at:
            self._end(point)

    def after_each(self, tables: Iterable[pa.Table], what: str) -> Iterator[pa.Table]:
        """The tables of a load; after each is a point."""
        for number, table in enumerate(tables):
            yield table
            self.before(f"{what}, after shard {number}")

    @contextmanager
    def over_staging(self) -> Iterator[None]:
        """Every file that is written or removed is a point, in any folder of this process."""
        write, remove, switch = Folder.write, Folder.remove, self

        def counted_write(folder: Folder, path: str, content: Any) -> None:
            switch.before(f"staging: write {_plain(path)}")
            write(folder, path, content)

        def counted_remove(folder: Folder, path: str) -> None:
            switch.before(f"staging: remove {_plain(path) or 'all'}")
            remove(folder, path)

        with (
            mock.patch.object(Folder, "write", counted_write),
            mock.patch.object(Folder, "remove", counted_remove),
        ):
            yield


class Killable:
    """An index whose every write is a point; it reads as the one it wraps."""

    def __init__(self, inner: VectorIndex, switch: Switch) -> None:
        self._inner = inner
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        what = f"index: load {_plain(collection.name)}"
        self._switch.before(what)
        return self._inner.load(collection, self._switch.after_each(tables, what), on_rows)

    def ranges(self) -> RangedLoads | None:
        inner = self._inner.ranges()
        return None if inner is None else KillableRanges(inner, self._switch)

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        self._switch.before(f"index: build {_plain(collection.name)} anew")
        return self._inner.rebuild(collection, tables)

    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        self._switch.before(f"index: add rows to {_plain(collection.name)}")
        self._inner.upsert(collection, table)

    def write_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> None:
        self._switch.before(f"index: write words of {_plain(collection.name)}")
        self._inner.write_words(collection, chunks)

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        self._switch.before(f"index: delete rows of {_plain(collection)}")
        self._inner.delete(collection, ids)

    def drop(self, collection: str) -> None:
        self._switch.before(f"index: drop {_plain(collection)}")
        self._inner.drop(collection)

    def activate(self, version: str) -> None:
        self._switch.before("index: flip the alias")
        self._inner.activate(version)

    def write_record(self, record: VersionRecord) -> None:
        begun = ", sync begun" if record.pending else ", repair begun"
        is_begun = record.pending or record.is_in_repair()
        what = begun if is_begun else ", replaced" if record.replaced_at else ""
        self._switch.before(f"index: write the record{what}")
        self._inner.write_record(record)

    def begin_import(self, version: str, export: str) -> None:
        self._switch.before("index: note what is imported")
        self._inner.begin_import(version, export)

    def drop_record(self, version: str) -> None:
        self._switch.before("index: drop the record")
        self._inner.drop_record(version)


class KillableRanges:
    """Loads in ranges whose every write is a point."""

    def __init__(self, inner: RangedLoads, switch: Switch) -> None:
        self._inner = inner
        self._switch = switch

    def begin_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> set[str]:
        self._switch.before(f"index: begin {_plain(collection.name)} in ranges")
        return self._inner.begin_ranges(collection, rows)

    def load_range(
        self,
        collection: CollectionSpec,
        name: str,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None],
    ) -> int:
        what = f"index: load a range of {_plain(collection.name)}"
        self._switch.before(what)
        counted = self._switch.after_each(tables, what)
        return self._inner.load_range(collection, name, counted, on_rows)

    def end_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> int:
        self._switch.before(f"index: end the ranges of {_plain(collection.name)}")
        return self._inner.end_ranges(collection, rows)


def _plain(name: str) -> str:
    """Without what differs from run to run: versions, and files named by their content."""
    name = re.sub(r"[a-z]+_v[0-9a-f]{12}_", "", name)
    name = re.sub(r"-[0-9a-f]{12}(?=\.parquet)", "", name)
    return re.sub(r"[0-9a-f]{32}", "…", name)
