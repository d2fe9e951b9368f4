"""Which files of a corpus need not be read: an earlier sync has read them as they are now.

What a comparison reads of a file (20 bytes for each document, dead letters, remarks) goes to the
read cache of the index once the comparison is over. The next one takes the rows of files that
have not changed from there, and compares them as if it had read them.
Memory: what an item of the comparison reads, some bytes for each item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import may_pass
from mrag_pipeline.domain.documents import DeadLetter, Document, document_fingerprint
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.remarks import add_counts
from mrag_pipeline.domain.stored_format import digest
from mrag_pipeline.errors import StagingError, StorageFull
from mrag_pipeline.ports import (
    DOCUMENT,
    CorpusReader,
    FilesRead,
    ListedSlice,
    ListingReader,
    Progress,
    ReadCache,
    SliceRead,
    UnreadFile,
)
from mrag_pipeline.stages.sync.compare_items import Read
from mrag_pipeline.stages.sync.compared_rows import ROW, place_of, print_of, slices_of
from mrag_pipeline.stages.sync.read_plan import ReadPlan
from mrag_pipeline.stages.sync.read_spool import ReadSpool

_PROBE = Document("id", "text", "title", {"name": 1}, "source")
_NOT_FILES = ("rows", "modules")  # units of slices of other things


@dataclass(frozen=True, slots=True)
class _Listed:
    """A slice as the reader listed it, and what was read of it earlier, if anything was."""

    piece: Slice
    validator: str
    read: SliceRead | None


@dataclass(frozen=True, slots=True)
class KnownShard:
    """What is known of an item of the comparison."""

    validators: tuple[str, ...]  # of its slices
    unread: tuple[int, ...]  # the numbers of those that are to be read
    read: Read  # what was read of the others


def cache_key(reading: object) -> str:
    """Changes with how records become documents, and with what is kept of them."""
    return digest({"reading": reading, "probe": print_of(document_fingerprint(_PROBE))})


class UnreadFiles:
    """The files of one comparison; to be closed."""

    def __init__(
        self, cache: ReadCache | None, key: str, progress: Progress, is_full: bool = False
    ) -> None:
        """Reads nothing yet.

        Args:
            cache: None: every file is read, and nothing is kept.
            key: of what was read earlier.
            is_full: every file is read all the same.
        """
        self.num_files = 0
        self.num_unread = 0
        self._cache, self._key, self._is_full = cache, key, is_full
        self._progress = progress
        self._files: FilesRead | None = None
        self._listed: deque[_Listed] = deque()
        self._spool = ReadSpool()
        self._num_new = 0  # files that were read and with a validator
        self._passing: set[str] = set()  # such files, which may be read otherwise another time

    def close(self) -> None:
        """Lets go of its temporary file."""
        self._spool.close()

    def slices(self, reader: CorpusReader, max_bytes: int) -> Iterator[Slice]:
        """The whole corpus, as `reader.slices`; files that have not changed are not opened."""
        if self._cache is None or not isinstance(reader, ListingReader):
            self._cache = None
            for piece in reader.slices(max_bytes):
                self._listed.append(_Listed(piece, "", None))
                yield piece
            return
        self._files = None if self._is_full else self._loaded(self._cache)
        last = ""
        for found in reader.listed_slices(max_bytes, self._is_known):
            if isinstance(found, UnreadFile):
                last = found.path
                self.num_files += 1
                self.num_unread += 1
                yield from self._slices_of(found)
                continue
            if found.piece.path != last and found.piece.unit not in _NOT_FILES:
                last = found.piece.path
                self.num_files += 1
                self._num_new += bool(found.validator)
            yield self._passed(found, None)
        if self._files is not None and self._files.problem:
            self._progress.note(f"{self._files.problem}; these files are read again")

    def known(self, index: int, shard: Shard) -> KnownShard:
        """What is known of the item that is made of the slices listed since the last one."""
        validators: list[str] = []
        unread: list[int] = []
        rows: list[NDArray[np.void]] = []
        dead: list[tuple[int, DeadLetter]] = []
        remarks: dict[int, dict[str, int]] = {}
        for number, piece in enumerate(shard.slices):
            listed = self._of(piece)
            validators.append(listed[0].validator)
            reads = [each.read for each in listed if each.read is not None]
            if not reads:
                unread.append(number)
                continue
            assert len(reads) == len(listed)  # a file is known whole or not at all
            first = place_of(index, number, 0)
            for read in reads:
                places = first + np.arange(len(read.rows) + len(read.dead))
                dead += [(int(places[row]), letter) for row, letter in read.dead]
                of_dead = [row for row, _ in read.dead]
                rows.append(_rows(read, np.delete(places, of_dead) if of_dead else places))
                first += len(places)
                if read.remarks:
                    add_counts(remarks.setdefault(number, {}), read.remarks)
        assert not self._listed
        joined = np.concatenate([np.empty(0, ROW), *rows])
        return KnownShard(
            tuple(validators), tuple(unread), Read(index, joined, tuple(dead), remarks)
        )

    def add(self, read: Read, plan: ReadPlan) -> None:
        """Keeps what was read, or was known, of an item.

        Raises: StorageFull.
        """
        if self._cache is None:
            return
        self._spool.add(read)
        passing = {place for place, letter in read.dead if may_pass(letter)}
        if passing:
            item = plan.items[read.index]
            slices, validators = item.slices, item.validators
            for number in set(slices_of(np.array(sorted(passing)))[1].tolist()):
                if validators[number]:
                    self._passing.add(slices[number].path)

    def keep(self, plan: ReadPlan) -> None:
        """Replaces the cache by what is known now, if that is something else.

        A cache that cannot be written costs the next sync its time: the comparison goes on.
        """
        is_same = self._files is not None and self.num_unread == self._files.num_files
        if self._cache is None or (is_same and self._num_new == len(self._passing)):
            return
        try:
            self._cache.write(self._key, self._reads(plan))
        except (StorageFull, StagingError) as error:
            self._progress.note(f"the next sync reads every file again: {error}")

    # -------------------------------------------------------------- inside
    def _loaded(self, cache: ReadCache) -> FilesRead | None:
        try:
            return cache.load(self._key)
        except StagingError as error:
            self._progress.note(f"{error}; every file is read again")
            return None

    def _is_known(self, path: str, validator: str) -> bool:
        return self._files is not None and self._files.has(path, validator)

    def _slices_of(self, file: UnreadFile) -> Iterator[Slice]:
        assert self._files is not None
        for read in self._files.slices(file.path, file.validator):
            yield self._passed(ListedSlice(read.piece, file.validator), read)

    def _passed(self, found: ListedSlice, read: SliceRead | None) -> Slice:
        self._listed.append(_Listed(found.piece, found.validator, read))
        return found.piece

    def _of(self, piece: Slice) -> Sequence[_Listed]:
        """The listed slices that `cut` joined to this one."""
        parts = [self._listed.popleft()]
        while self._listed and _is_within(self._listed[0].piece, piece):
            parts.append(self._listed.popleft())
        return parts

    def _reads(self, plan: ReadPlan) -> Iterator[SliceRead]:
        for item in plan.items:
            slices, validators = item.slices, item.validators
            by_slice = self._spool.by_slice(item.index, len(slices))
            for piece, validator, own in zip(slices, validators, by_slice, strict=True):
                if validator and piece.path not in self._passing:
                    yield SliceRead(piece, validator, own.rows, own.dead, own.remarks)


def _is_within(part: Slice, piece: Slice) -> bool:
    is_same = (part.path, part.unit) == (piece.path, piece.unit)
    return is_same and piece.start <= part.start and part.stop <= piece.stop


def _rows(read: SliceRead, places: NDArray[np.int64]) -> NDArray[np.void]:
    rows = np.empty(len(read.rows), ROW)
    for name in DOCUMENT.names or ():
        rows[name] = read.rows[name]
    rows["place"] = places
    return rows
