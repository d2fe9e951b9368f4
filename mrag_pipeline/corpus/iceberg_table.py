"""An Iceberg table, by pyiceberg: its files and rows as they were at one snapshot.

iceberg:CATALOG/NAMESPACE.TABLE    a table of a catalog that pyiceberg's own config names
a path or URI                      the table's folder, or one metadata file of it
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import fs

from mrag_pipeline.corpus.table_part import TablePart
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, first_line
from mrag_pipeline.filesystems.location import open_place

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, Table

CATALOG = "iceberg:"
_METADATA = ".metadata.json"
_EMPTY = "empty"  # the version of a table without a snapshot


class Iceberg:
    """What `corpus.uri` names where `corpus.format` is iceberg."""

    kind = "Iceberg table"

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def newest(self) -> str:
        """The snapshot that the table has now.

        Raises: CorpusNotFound, CorpusError, ConfigError.
        """
        with self._read():
            snapshot = self._table.current_snapshot()
            return _EMPTY if snapshot is None else str(snapshot.snapshot_id)

    def parts(self, version: str) -> Iterator[TablePart]:
        """The snapshot's data files, sorted by their paths.

        Raises: as `newest`.
        """
        with self._read():
            for path, task in sorted(self._tasks(version).items()):
                yield TablePart(path, 0, max(1, task.file.file_size_in_bytes))

    def batches(self, version: str, part: TablePart) -> Iterator[pa.RecordBatch]:
        """The rows of a data file that the snapshot has not deleted; one file is held in memory.

        Raises: as `newest`.
        """
        with self._read():
            from pyiceberg.expressions import AlwaysTrue
            from pyiceberg.io.pyarrow import ArrowScan

            table = self._table
            columns = table.scan(snapshot_id=int(version)).projection()
            scan = ArrowScan(table.metadata, table.io, columns, AlwaysTrue())
            yield from scan.to_record_batches([self._tasks(version)[part.path]])

    @lru_cache(maxsize=1)  # noqa: B019 - a reader lives as long as its table
    def _tasks(self, version: str) -> dict[str, FileScanTask]:
        if version == _EMPTY:
            return {}
        table = self._table
        if not version.isdecimal() or table.snapshot_by_id(int(version)) is None:
            known = ", ".join(str(one.snapshot_id) for one in table.metadata.snapshots[-5:])
            raise ConfigError(
                f"the Iceberg table at {self._uri} has no snapshot {version}",
                f"one that it has: {known}",
                "set corpus.snapshot, or remove it; expired snapshots are gone",
            )
        folder = table.location().rstrip("/") + "/"
        tasks = table.scan(snapshot_id=int(version)).plan_files()
        return {task.file.file_path.removeprefix(folder): task for task in tasks}

    @cached_property
    def _table(self) -> Table:
        try:
            from pyiceberg.catalog import load_catalog
            from pyiceberg.table import StaticTable
        except ImportError:
            raise ConfigError(
                "pyiceberg is not installed",
                "it, to read an Iceberg table",
                "pip install 'mrag-pipeline[iceberg]'",
            ) from None
        if self._uri.startswith(CATALOG):
            catalog, _, name = self._uri.removeprefix(CATALOG).partition("/")
            return load_catalog(catalog).load_table(name)
        return StaticTable.from_metadata(self._metadata_file())

    def _metadata_file(self) -> str:
        """The metadata file that the URI names, or the newest of the folder."""
        if self._uri.endswith(_METADATA):
            return self._uri
        place = open_place(self._uri, f"corpus {self._uri!r}")
        folder = fs.FileSelector(f"{place.root.rstrip('/')}/metadata", allow_not_found=True)
        names = [info.base_name for info in place.filesystem.get_file_info(folder)]
        found = [name for name in names if name.endswith(_METADATA)]
        if not found:
            raise CorpusNotFound(
                f"no Iceberg table at {self._uri}",
                f"a folder with metadata/*{_METADATA}, or {CATALOG}CATALOG/NAMESPACE.TABLE",
                "check corpus.uri",
            )
        return posixpath.join(self._uri.rstrip("/"), "metadata", max(found, key=_number))

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise CorpusNotFound(
                f"the Iceberg table at {self._uri}: {first_line(error)}",
                "a snapshot whose files are there",
                "check corpus.uri and corpus.snapshot",
            ) from None
        except (OSError, pa.ArrowException, ValueError, *_library_errors()) as error:
            raise CorpusError(
                f"the Iceberg table at {self._uri}: {first_line(error)}",
                "a table that pyiceberg reads",
                "check corpus.uri, corpus.snapshot and the catalog in ~/.pyiceberg.yaml",
            ) from error


def _number(name: str) -> int:
    """Of `00003-uuid.metadata.json`, and of `v3.metadata.json`."""
    digits = name.removeprefix("v").partition("-")[0].partition(".")[0]
    return int(digits) if digits.isdecimal() else -1


def _library_errors() -> tuple[type[Exception], ...]:
    try:
        from pyiceberg import exceptions
    except ImportError:
        return ()
    kinds: list[Any] = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    return tuple(kind for kind in kinds if issubclass(kind, Exception))
