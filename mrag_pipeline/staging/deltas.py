"""One sync's folder: the documents to embed, the chunks to remove, and the new shards.

{uri}/{index}/{version}/syncs/00001/
    corpus/9f3a...e1.parquet    documents to embed; the name is the content's hash
    removed.parquet             chunks to remove or to replace; if they are over 100,000:
    removed/00000.parquet       100,000 of them in each file; the last one has fewer, perhaps none
    manifest.json               written after these: fixes what the sync does
    shards/00000/...            as in a version
    removed_sums.parquet        written before the index is changed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any

import pyarrow as pa

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import CorpusReader, DeltaStaging, Mark
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.shards import ShardFolders

_REMOVED = "removed.parquet"
_REMOVED_PARTS = "removed"
_PART_MARKS = 100_000  # 30 MB while they are written or read
_REMOVED_SUMS = "removed_sums.parquet"

CORPUS = pa.schema(
    [
        ("document_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("metadata", pa.string()),
        ("source", pa.string()),
    ]
)
REMOVED = pa.schema(
    [("chunk_id", pa.int64()), ("document_id", pa.string()), ("fingerprint", pa.string())]
)


def open_delta(spec: StagingSpec, index: str, version: str, number: int) -> DeltaStaging:
    """The staging area of the version's sync of that number; nothing is created yet."""
    return DeltaFolders(spec, index, delta_name(version, number))


def delta_name(version: str, number: int) -> str:
    """The sync's folder, relative to the index's folder."""
    return f"{version}/syncs/{number:05d}"


class DeltaFolders(ShardFolders):
    """The DeltaStaging port over a folder."""

    _WITHOUT_PLAN = (
        "restore it from a backup; without it nothing can be restored from staging: "
        "`mrag export` and `mrag import` keep this version, `mrag ingest` builds a new one"
    )

    _WITHOUT_REMOVED = (
        "run `mrag sync`: one that has not changed the index yet stores it again; else restore it "
        "from a backup, or go on without it: `mrag export` and `mrag import` keep this version, "
        "`mrag ingest` builds a new one"
    )

    def write_documents(self, documents: Sequence[Document]) -> Slice:
        """Stores documents to be embedded in a file named after its content's hash."""
        columns = [
            pa.array([d.id for d in documents], pa.string()),
            pa.array([d.title for d in documents], pa.string()),
            pa.array([d.text for d in documents], pa.string()),
            pa.array([json.dumps(dict(d.metadata)) for d in documents], pa.string()),
            pa.array([d.source for d in documents], pa.string()),
        ]
        content = self._files.encode(pa.Table.from_arrays(columns, schema=CORPUS))
        digest = hashlib.sha256(content).hexdigest()
        path = f"corpus/{digest[:32]}.parquet"
        self._folder.write(path, content)
        num_bytes = sum(len(d.text) for d in documents)
        return Slice(path, "file", 0, len(documents), num_bytes, digest)

    def reader(self) -> CorpusReader:
        """Reads what `write_documents` stored."""
        return _StoredDocuments(self._folder)

    def write_removed(self, blocks: Iterable[Sequence[Mark]]) -> None:
        """Stores the chunks that the sync removes or replaces."""
        parts = _parts(blocks)
        first = next(parts)
        if len(first) < _PART_MARKS:
            self._write_marks(_REMOVED, first)
            return
        # No removed.parquet then: an mrag that reads no parts must not take one for all.
        for number, part in enumerate(chain([first], parts)):
            self._write_marks(_part_path(number), part)
        self._folder.remove(_REMOVED)  # of an earlier mrag, which wrote all into one file

    def removed(self) -> Iterator[list[Mark]]:
        """What `write_removed` stored.

        Raises: StagingError.
        """
        try:
            for table in self._removed_tables():
                for start in range(0, table.num_rows, _PART_MARKS):
                    columns = table.slice(start, _PART_MARKS).columns
                    rows = zip(*(column.to_pylist() for column in columns), strict=True)
                    yield [Mark(*row) for row in rows]
        except StagingError as error:
            raise StagingError(error.found, error.expected, self._WITHOUT_REMOVED) from error

    def write_removed_sums(self, sums: ImportanceSums) -> None:
        """Stores the importance sums of the removed chunks."""
        table = tables.importance_table(sums, self._need_manifest().encoder.heads)
        self._files.write_table(_REMOVED_SUMS, table)

    def removed_sums(self) -> ImportanceSums | None:
        """What `write_removed_sums` stored, to the last bit."""
        table = self._files.read_table(_REMOVED_SUMS)
        return None if table is None else tables.sums_of(table)

    def is_open(self) -> bool:
        """Whether its documents are there still: then the sync is not finished."""
        return bool(self._folder.sizes("corpus"))

    def discard(self) -> None:
        """Removes the plan, the removals and the shards; the documents stay."""
        # The manifest first: without it, the other files mean nothing.
        removals = (_REMOVED_SUMS, _REMOVED, _REMOVED_PARTS)
        for path in ("manifest.json", *removals, "shards", "duplicates.parquet"):
            self._folder.remove(path)
        self._manifest = None
        self._left_out.forget()
        self._files.forget_receipts()

    def finish(self) -> None:
        """Removes the documents to embed: the shards hold their texts."""
        self._folder.remove("corpus")

    # -------------------------------------------------------------- inside
    def _write_marks(self, path: str, marks: Sequence[Mark]) -> None:
        columns = [
            pa.array([mark.id for mark in marks], pa.int64()),
            pa.array([mark.document_id for mark in marks], pa.string()),
            pa.array([mark.fingerprint for mark in marks], pa.string()),
        ]
        self._files.write_table(path, pa.Table.from_arrays(columns, schema=REMOVED))

    def _removed_tables(self) -> Iterator[pa.Table]:
        table = self._files.read_table(_REMOVED)
        if table is not None:
            yield table
            return
        full = 0
        for number in count():
            path = _part_path(number)
            table = self._files.read_table(path)
            if table is None:
                path = path if number else _REMOVED
                raise self._files.damaged(path, "the file does not exist")
            yield table
            full = full or table.num_rows
            if table.num_rows < full:  # the last part
                return


def _parts(blocks: Iterable[Sequence[Mark]]) -> Iterator[list[Mark]]:
    """The marks in lists of `_PART_MARKS`, and one of fewer, perhaps of none, at the end."""
    held: list[Mark] = []
    for block in blocks:
        held += block
        while len(held) >= _PART_MARKS:
            yield held[:_PART_MARKS]
            held = held[_PART_MARKS:]
    yield held


def _part_path(number: int) -> str:
    return f"{_REMOVED_PARTS}/{number:05d}.parquet"


class _StoredDocuments:
    """The corpus reader of a sync's own documents."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def slices(self, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002  # the port's
        """Not supported: a sync has one shard for each file that it wrote."""
        raise StagingError(f"{self.describe()} cannot be planned: their shards are fixed")

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The documents as they were when the sync compared the corpus with the index.

        Raises: StagingError.
        """
        for document_slice in slices:
            path = document_slice.path
            content = self._folder.read(path)
            if content is None or hashlib.sha256(content).hexdigest() != document_slice.stamp:
                raise StagingError(
                    f"{self._folder.describe(path)} is missing or damaged",
                    "the new and changed documents that the sync stored",
                    "run the same command again: it stores them again; if it says this once more, "
                    "`mrag ingest` builds a new version",
                )
            table = tables.from_parquet(content)
            for row in table.to_pylist():
                yield Document(
                    id=row["document_id"],
                    text=row["text"],
                    title=row["title"],
                    metadata=json.loads(row["metadata"]),
                    source=row["source"],
                )

    def reading(self) -> dict[str, Any]:
        """Nothing: they are documents already."""
        return {}

    def left_out(self) -> Iterator[str]:
        """None: there are no files."""
        return iter(())

    def describe(self) -> str:
        """One line for messages."""
        return f"the sync's documents in {self._folder.name}"
