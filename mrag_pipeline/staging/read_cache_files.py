"""What the last sync has read of the corpus's files, in some files of staging.

    {uri}/{index}/read_cache/cache.json                    written last: names the others
                             4f2a.../files.bin             where each file's slices are
                             4f2a.../00000.parquet         slices in the order of the corpus

It describes the corpus, so every version of the index shares it. Only the last one is kept.
Memory: 16 bytes for each file, two of the Parquet files.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrag_pipeline.domain import stored_format
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import StagingError, StorageFull
from mrag_pipeline.ports import DOCUMENT, FilesRead, SliceRead
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.recently_read import Recent

FORMAT = 1  # another one is not read: the files are read instead
PART_SLICES, PART_ROWS = 50_000, 1_000_000  # of a Parquet file: 20 MB of rows
_BELOW = "read_cache"
_CACHE = f"{_BELOW}/cache.json"
# Of a file: a hash of its path and validator, its first slice among all, and how many it has.
_FILE = np.dtype([("key", "<u8"), ("first", "<u4"), ("count", "<u4")])
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("unit", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("num_bytes", pa.int64()),
        ("stamp", pa.string()),
        ("validator", pa.string()),
        ("rows", pa.binary()),
        ("dead", pa.string()),
        ("remarks", pa.string()),
    ]
)


class ReadCacheFolder:
    """The ReadCache port over a folder."""

    def __init__(self, spec: StagingSpec, index: str, basis: Mapping[str, Any]) -> None:
        """Reads nothing yet.

        Args:
            basis: what decides how a file is read, plain values; another one is another key.
        """
        self._folder = Folder(spec.uri, index)
        self._compression = spec.compression
        self._basis = dict(basis)

    def load(self, key: str) -> FilesRead | None:
        """What was read under the key and the basis.

        Raises: StagingError.
        """
        content = self._folder.read(_CACHE)
        if content is None:
            return None
        try:
            stored = json.loads(content.to_pybytes())
            if stored["format"] != FORMAT or stored["key"] != self._full_key(key):
                return None
            return _StoredFiles(self._folder, stored)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self._folder, _CACHE, repr(error)) from error

    def write(self, key: str, reads: Iterable[SliceRead]) -> None:
        """Replaces the cache; earlier files go once the new ones are there.

        Raises: StorageFull, having removed what it wrote; StagingError.
        """
        name = f"{_BELOW}/{uuid.uuid4().hex}"
        try:
            self._write(name, key, reads)
        except StorageFull:
            self._folder.remove(name)
            raise
        found = {f"{_BELOW}/{path.partition('/')[0]}" for path in self._folder.sizes(_BELOW)}
        for other in sorted(found - {name, _CACHE}):
            self._folder.remove(other)

    def _write(self, name: str, key: str, reads: Iterable[SliceRead]) -> None:
        files = _FileList()
        parts: list[dict[str, Any]] = []
        for part in _in_parts(reads):
            for read in part:
                files.add(read.piece.path, read.validator)
            path = f"{name}/{len(parts):05d}.parquet"
            content = tables.parquet(_table(part), self._compression)
            self._folder.write(path, content)
            parts.append({"path": path, "slices": len(part), "digest": _digest(content)})
        listed = files.sorted().tobytes()
        self._folder.write(f"{name}/files.bin", listed)
        stored = {
            "format": FORMAT,
            "key": self._full_key(key),
            "files": {"path": f"{name}/files.bin", "digest": _digest(listed)},
            "parts": parts,
        }
        # Last: it makes the others the cache.
        self._folder.write(_CACHE, json.dumps(stored).encode())

    def _full_key(self, key: str) -> str:
        return stored_format.digest({"key": key, **self._basis})


@dataclass(frozen=True, slots=True)
class _Part:
    """A Parquet file's slices, as columns."""

    first: int  # of its slices among all
    columns: Mapping[str, list[Any]]


class _StoredFiles:
    """The FilesRead port over what `ReadCacheFolder.write` stored."""

    def __init__(self, folder: Folder, stored: Mapping[str, Any]) -> None:
        self.problem = ""
        self._folder = folder
        self._stored = stored["parts"]
        sizes = [int(part["slices"]) for part in self._stored]
        self._ends = np.cumsum(np.array(sizes, np.int64))
        self._parts = Recent[_Part](2)
        self._bad: set[int] = set()  # numbers of damaged parts
        content = _checked(folder, stored["files"]["path"], stored["files"]["digest"])
        self._files: NDArray[np.void] = np.frombuffer(content, _FILE)
        self._keys = np.ascontiguousarray(self._files["key"])

    @property
    def num_files(self) -> int:
        """How many there are."""
        return len(self._files)

    def has(self, path: str, validator: str) -> bool:
        """Whether it was read; a damaged part's files were not."""
        slices = self._slices_of(path, validator)
        if not slices:
            return False
        try:
            places = ((self._part_of(number), number) for number in slices)
            return all(_is_of(part, number, path, validator) for part, number in places)
        except StagingError as error:
            self.problem = self.problem or str(error)
            return False

    def slices(self, path: str, validator: str) -> Iterator[SliceRead]:
        """What was read of a file.

        Raises: StagingError.
        """
        for number in self._slices_of(path, validator):
            part = self._part_of(number)
            yield _read_at(part.columns, number - part.first)

    def _slices_of(self, path: str, validator: str) -> range:
        key = np.uint64(_key_of(path, validator))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            return range(0)
        first = int(self._files["first"][at])
        return range(first, first + int(self._files["count"][at]))

    def _part_of(self, number: int) -> _Part:
        index = int(np.searchsorted(self._ends, number, side="right"))
        if index in self._bad:
            raise StagingError(self.problem)
        part = self._parts.get(index)
        if part is None:
            try:
                part = self._read_part(index)
            except StagingError as error:
                self._bad.add(index)
                self.problem = self.problem or str(error)
                raise
            self._parts.set(index, part)
        return part

    def _read_part(self, index: int) -> _Part:
        stored = self._stored[index]
        content = _checked(self._folder, stored["path"], stored["digest"])
        try:
            table = tables.from_parquet(content)
            columns = {name: table.column(name).to_pylist() for name in _SCHEMA.names}
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(self._folder, stored["path"], str(error)) from error
        return _Part(int(self._ends[index]) - stored["slices"], columns)


class _FileList:
    """Which slices each file has."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.void]] = []
        self._held: list[tuple[int, int, int]] = []
        self._last: tuple[str, str] | None = None
        self._num_slices = 0

    def add(self, path: str, validator: str) -> None:
        """Counts the next slice."""
        if self._last == (path, validator):
            key, first, count = self._held[-1]
            self._held[-1] = (key, first, count + 1)
        else:
            if len(self._held) >= PART_SLICES:
                self._settle()
            self._held.append((_key_of(path, validator), self._num_slices, 1))
            self._last = path, validator
        self._num_slices += 1

    def sorted(self) -> NDArray[np.void]:
        """Every file, by its key."""
        self._settle()
        files = np.concatenate([np.empty(0, _FILE), *self._blocks])
        return files[np.argsort(files["key"], kind="stable")]

    def _settle(self) -> None:
        self._blocks.append(np.array(self._held, _FILE))
        self._held = []


def _in_parts(reads: Iterable[SliceRead]) -> Iterator[list[SliceRead]]:
    part: list[SliceRead] = []
    num_rows = 0
    for read in reads:
        part.append(read)
        num_rows += len(read.rows)
        if len(part) >= PART_SLICES or num_rows >= PART_ROWS:
            yield part
            part, num_rows = [], 0
    if part:
        yield part


def _table(part: list[SliceRead]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    for read in part:
        for name in ("path", "unit", "start", "stop", "num_bytes", "stamp"):
            columns[name].append(getattr(read.piece, name))
        columns["validator"].append(read.validator)
        columns["rows"].append(read.rows.tobytes())
        dead = [[row, *astuple(letter)] for row, letter in read.dead]
        columns["dead"].append(json.dumps(dead) if dead else "")
        columns["remarks"].append(json.dumps(dict(read.remarks)) if read.remarks else "")
    return pa.Table.from_pydict(columns, schema=_SCHEMA)


def _is_of(part: _Part, number: int, path: str, validator: str) -> bool:
    # Two files may share a hash.
    at = number - part.first
    return bool(part.columns["path"][at] == path and part.columns["validator"][at] == validator)


def _read_at(columns: Mapping[str, list[Any]], at: int) -> SliceRead:
    names = ("path", "unit", "start", "stop", "num_bytes", "stamp")
    dead, remarks = columns["dead"][at], columns["remarks"][at]
    return SliceRead(
        Slice(*(columns[name][at] for name in names)),
        columns["validator"][at],
        np.frombuffer(columns["rows"][at], DOCUMENT),
        tuple((row, DeadLetter(*fields)) for row, *fields in json.loads(dead)) if dead else (),
        json.loads(remarks) if remarks else {},
    )


def _key_of(path: str, validator: str) -> int:
    return text_key(f"{path}\0{validator}")


def _digest(content: bytes | pa.Buffer) -> str:
    return hashlib.sha256(content).hexdigest()


def _checked(folder: Folder, path: str, digest: str) -> pa.Buffer:
    content = folder.read(path)
    if content is None:
        raise _damaged(folder, path, "the file does not exist")
    if _digest(content) != digest:
        raise _damaged(folder, path, "its content is not what was written")
    return content


def _damaged(folder: Folder, path: str, why: str) -> StagingError:
    return StagingError(
        f"{folder.describe(path)} is missing or damaged: {why}",
        "what an earlier sync read of the corpus's files",
        "nothing: these files are read again",
    )
