"""A Delta table, by deltalake: its files and rows as they were at one version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mrag_pipeline.corpus.table_part import TablePart
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, first_line

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.dataset import FileSystemDataset, ParquetFileFragment

_ROWS = 1_000


class Delta:
    """What `corpus.uri` names where `corpus.format` is delta."""

    kind = "Delta table"

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def newest(self) -> str:
        """The version that the table has now.

        Raises: CorpusNotFound, CorpusError, ConfigError.
        """
        with self._read():
            return str(self._open(None).version())

    def parts(self, version: str) -> Iterator[TablePart]:
        """The row groups of the version's files, sorted by the files' paths.

        Raises: as `newest`.
        """
        with self._read():
            for path, fragment in sorted(self._fragments(version).items()):
                for index, group in enumerate(fragment.row_groups):
                    yield TablePart(path, index, max(1, group.total_byte_size))

    def batches(self, version: str, part: TablePart) -> Iterator[pa.RecordBatch]:
        """The rows of a row group, with the columns that its file's folder stands for.

        Raises: as `newest`.
        """
        with self._read():
            fragment = self._fragments(version)[part.path]
            schema = self._dataset(version).schema
            rows = fragment.subset(row_group_ids=[part.index])
            yield from rows.to_batches(schema=schema, batch_size=_ROWS, use_threads=False)

    @cached_property
    def _library(self) -> Any:
        try:
            import deltalake
        except ImportError:
            raise ConfigError(
                "deltalake is not installed",
                "it, to read a Delta table",
                "pip install 'mrag-pipeline[delta]'",
            ) from None
        return deltalake

    def _open(self, version: str | None) -> DeltaTable:
        if version is not None and not version.isdecimal():
            raise ConfigError(
                f"corpus.snapshot = {version!r}", "a version of the Delta table: 0, 1, ..."
            )
        return self._library.DeltaTable(  # type: ignore[no-any-return]
            self._uri, version=None if version is None else int(version)
        )

    @lru_cache(maxsize=1)  # noqa: B019 - a reader lives as long as its table
    def _dataset(self, version: str) -> FileSystemDataset:
        return self._open(version).to_pyarrow_dataset()

    @lru_cache(maxsize=1)  # noqa: B019
    def _fragments(self, version: str) -> dict[str, ParquetFileFragment]:
        return {fragment.path: fragment for fragment in self._dataset(version).get_fragments()}

    @contextmanager
    def _read(self) -> Iterator[None]:
        errors = self._library.exceptions
        try:
            yield
        except errors.TableNotFoundError:
            raise CorpusNotFound(
                f"no Delta table at {self._uri}", "a folder with _delta_log", "check corpus.uri"
            ) from None
        except (errors.DeltaError, OSError, pa.ArrowException, ImportError) as error:
            raise CorpusError(
                f"the Delta table at {self._uri}: {first_line(error)}",
                "a version whose files are there, without deletion vectors or renamed columns",
                "check corpus.snapshot; `OPTIMIZE` and `VACUUM` end older versions",
            ) from error
