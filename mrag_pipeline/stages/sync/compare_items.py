"""The items of a comparison: they read the version's rows, read the corpus, store what differs.

A slice of the corpus in which a document has changed is read twice: workers do not hold what the
version has, so what differs is known only once all is read. Every item may be done again, or by two
workers at once: what one stores is named by its content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import NO_TEXT, duplicate_id, unusable
from mrag_pipeline.domain.documents import DeadLetter, Document, document_fingerprint, text_hash
from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.domain.remarks import add_remarks
from mrag_pipeline.ports import CorpusReader, DeltaStaging, Mark, ReadableVersion
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.stages.sorted_ids import IdBlock, SortedIds
from mrag_pipeline.stages.sync.compared_rows import (
    OUT_OF_SCOPE,
    REPEATED,
    ROW,
    chunk_rows,
    place_of,
    print_of,
    slices_of,
)
from mrag_pipeline.stages.sync.read_plan import PlannedRead, ReadItem

MARKS_ROWS = 64_000  # chunks of the version that an item reads: some seconds
FEW = 100  # outdated chunks are few where the version has so many times as many
READ_BYTES, STORES = 128_000_000, 16  # that an item that stores reads: less, so that there are more
MOST_STORES = 256  # more, so that there are no more: each stores a part of its own
_MAX_SLICES = 2_000  # of an item that stores
MARK_BYTES = 100  # of a chunk, about: its ids and a fingerprint


@dataclass(frozen=True, slots=True)
class MarksItem:
    """Read which documents the version's chunks are of, in a range of chunk ids."""

    index: int
    start: int
    stop: int
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class OutdatedItem:
    """Read the marks of these chunks."""

    index: int
    ids: IdBlock  # some at least
    are_many: bool  # of the version's: then all chunks between them are read
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class StoreItem:
    """Store what differs in some slices; what is repeated there becomes a dead letter."""

    index: int
    slices: tuple[Slice, ...]
    changes: tuple[NDArray[np.void], ...]  # of each slice, of type CHANGE
    part_bytes: int  # of text, that are stored together
    num_bytes: int

    @property
    def first(self) -> Slice:
        """Where it begins to read."""
        return self.slices[0]

    @property
    def last(self) -> Slice:
        """Where it stops."""
        return self.slices[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """The version's chunks in a range of ids."""

    rows: NDArray[np.void]  # of type ROW

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Outdated:
    """The marks of chunks that are outdated."""

    index: int  # the item's
    marks: list[Mark]

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return len(self.marks)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """The documents of some slices of an item."""

    index: int  # the item's
    rows: NDArray[np.void]  # of type ROW
    dead: tuple[tuple[int, DeadLetter], ...]  # with their places
    remarks: dict[int, dict[str, int]]  # documents, by slice and by what is told of them

    @property
    def num_rows(self) -> int:
        """Documents."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What is stored of some slices."""

    index: int
    slices: tuple[Slice, ...]  # of staging
    repeated: tuple[tuple[int, DeadLetter], ...]  # with their places
    surplus_remarks: dict[str, int]  # of these: they were counted when they were read
    missed: frozenset[int]  # hashes of the ids that were there when they were first read, only
    num_rows: int  # documents


@dataclass(frozen=True, slots=True)
class CorpusComparer:
    """Does the items of a comparison."""

    collection: str  # the version's chunks
    reader: CorpusReader
    staging: DeltaStaging
    # None where another process owns it: the items that read it stay there.
    index: ReadableVersion | None
    only: Collection[str] | None = None  # document ids or sources; others are not stored

    def __call__(
        self, item: MarksItem | OutdatedItem | ReadItem | PlannedRead | StoreItem
    ) -> Marked | Outdated | Read | Stored:
        """What the item asks for.

        Raises: what the reader raises; FingerprintMismatch where a file has changed meanwhile.
        """
        if isinstance(item, MarksItem):
            blocks = self._rows().marks(self.collection, item.start, item.stop)
            rows = [np.empty(0, ROW), *map(chunk_rows, blocks)]
            return Marked(np.concatenate(rows))
        if isinstance(item, OutdatedItem):
            return Outdated(item.index, self._outdated(item.ids.ids().tolist(), item.are_many))
        return self._stored(item) if isinstance(item, StoreItem) else self._read(item)

    def _read(self, item: ReadItem | PlannedRead) -> Read:
        if isinstance(item, PlannedRead):
            item = item.to_read()
        keys, prints, places, sizes = [], [], [], []
        dead: list[tuple[int, DeadLetter]] = []
        remarks: dict[int, dict[str, int]] = {}
        for number, piece in zip(item.numbers, item.slices, strict=True):
            for row, found in enumerate(self.reader.read([piece])):
                letter = _letter_of(found)
                if letter is not None:
                    dead.append((place_of(item.index, number, row), letter))
                    continue
                assert isinstance(found, Document)
                if found.remarks:
                    add_remarks(remarks.setdefault(number, {}), found.remarks)
                keys.append(text_key(found.id))
                prints.append(print_of(document_fingerprint(found)))
                places.append(place_of(item.index, number, row))
                sizes.append(len(found.text) if self._is_in_scope(found) else OUT_OF_SCOPE)
        rows = np.empty(len(keys), ROW)
        rows["key"], rows["print"], rows["place"], rows["size"] = keys, prints, places, sizes
        return Read(item.index, rows, tuple(dead), remarks)

    def _stored(self, item: StoreItem) -> Stored:
        parts: list[Slice] = []
        held: list[Document] = []
        held_bytes = num_rows = 0
        repeated: list[tuple[int, DeadLetter]] = []
        remarks: dict[str, int] = {}
        missed: set[int] = set()
        for piece, changes in zip(item.slices, item.changes, strict=True):
            missed.update(changes["id_key"][changes["kind"] != REPEATED].tolist())
            for document, change in self._of_changes(piece, changes):
                if change["kind"] == REPEATED:
                    digest = text_hash(document.text)
                    where = document.source
                    letter = duplicate_id(document.id, where, "an earlier place", digest)
                    repeated.append((int(change["key"]), letter))
                    add_remarks(remarks, document.remarks)
                    continue
                missed.discard(int(change["id_key"]))
                held.append(document)
                num_rows += 1
                held_bytes += len(document.text)
                if held_bytes >= item.part_bytes:
                    parts.append(self.staging.write_documents(held))
                    held, held_bytes = [], 0
        if held:
            parts.append(self.staging.write_documents(held))
        return Stored(
            item.index, tuple(parts), tuple(repeated), remarks, frozenset(missed), num_rows
        )

    def _of_changes(
        self, piece: Slice, changes: NDArray[np.void]
    ) -> Iterator[tuple[Document, np.void]]:
        """The slice's documents that the changes are of, as they are now.

        Found by their ids: rows of a database may have come or gone meanwhile.
        """
        wanted = {(int(one["id_key"]), int(one["occurrence"])): one for one in changes}
        keys = {key for key, _ in wanted}
        times: Counter[int] = Counter()
        for found in self.reader.read([piece]):
            if _letter_of(found) is not None:
                continue
            assert isinstance(found, Document)
            key = text_key(found.id)
            if key not in keys:
                continue
            change = wanted.get((key, times[key]))
            times[key] += 1
            if change is not None:
                yield found, change

    def _outdated(self, ids: Sequence[int], are_many: bool) -> list[Mark]:
        index = self._rows()
        wanted = set(ids)
        if are_many:
            blocks = index.marks(self.collection, ids[0], ids[-1] + 1)
        else:
            documents = index.look_up(self.collection, ids, ())[0].values()
            blocks = iter([index.marks_of(self.collection, sorted(set(documents)))])
        found = {mark.id: mark for block in blocks for mark in block if mark.id in wanted}
        # Looking up may lag behind what was written last; reading ranges of ids does not.
        for missing in sorted(wanted - found.keys()):
            for block in index.marks(self.collection, missing, missing + 1):
                found |= {mark.id: mark for mark in block}
        return list(found.values())

    def _rows(self) -> ReadableVersion:
        assert self.index is not None  # its items are not given to other processes
        return self.index

    def _is_in_scope(self, document: Document) -> bool:
        return self.only is None or document.id in self.only or document.source in self.only


def marks_items(num_rows: int, first_number: int) -> Iterator[MarksItem]:
    """Every range of ids in one item; those of hashes have about as many rows each."""
    count = max(1, -(-num_rows // MARKS_ROWS))
    bounds = [ID_END * number // count for number in range(count + 1)]
    num_bytes = MARK_BYTES * num_rows // count
    for number in range(count):
        start, stop = bounds[number], bounds[number + 1]
        yield MarksItem(first_number + number, start, stop, num_bytes)


def outdated_items(ids: SortedIds, num_rows: int, first_number: int) -> Iterator[OutdatedItem]:
    """All these chunks of the version's `num_rows`, in items."""
    are_many = len(ids) > num_rows // FEW
    # As many rows as between the ids of an item are read, where they are many.
    step = max(1, MARKS_ROWS * len(ids) // max(1, num_rows) if are_many else MARKS_ROWS // FEW)
    for number, part in enumerate(ids.blocks(step), first_number):
        yield OutdatedItem(number, part, are_many, MARK_BYTES * len(part))


def store_items(
    changes: Iterable[NDArray[np.void]],
    slices: Callable[[int], tuple[Slice, ...]],
    part_bytes: int,
    read_bytes: int,
) -> Iterator[StoreItem]:
    """Every change in one item, in the order of the corpus.

    Args:
        changes: of type CHANGE, in blocks of rising places, none empty.
        slices: of the item that read the corpus, by its number.
        part_bytes: of text, that are stored together.
        read_bytes: of the corpus, that an item reads at least if it finds less to store.
    """
    index = num_bytes = text_bytes = 0
    held: list[tuple[Slice, NDArray[np.void]]] = []

    def made() -> StoreItem:
        pieces, of_pieces = zip(*held, strict=True)
        return StoreItem(index, pieces, of_pieces, part_bytes, num_bytes)

    last = -1
    of_last: tuple[Slice, ...] = ()
    for number, piece, own in _by_slice(changes):
        if number != last:
            last, of_last = number, slices(number)
        read = of_last[piece]
        held.append((read, own))
        num_bytes += read.num_bytes
        text_bytes += int(own["size"].sum(dtype=np.int64))
        is_full = text_bytes >= part_bytes or num_bytes >= read_bytes
        if is_full or len(held) >= _MAX_SLICES:
            yield made()
            index, num_bytes, text_bytes, held = index + 1, 0, 0, []
    if held:
        yield made()


def _by_slice(
    changes: Iterable[NDArray[np.void]],
) -> Iterator[tuple[int, int, NDArray[np.void]]]:
    """The changes of each slice that has some, with the number of its item and its own in that."""
    for block in changes:
        items, pieces = slices_of(block["key"])
        begins = np.flatnonzero(np.diff(items, prepend=-1) | np.diff(pieces, prepend=-1))
        for start, stop in pairwise([*begins.tolist(), len(block)]):
            yield int(items[start]), int(pieces[start]), block[start:stop]


def _letter_of(found: Document | DeadLetter) -> DeadLetter | None:
    """Why it is no document to compare; None if it is one."""
    if isinstance(found, DeadLetter):
        return found
    return None if found.text.strip() else unusable(found, NO_TEXT)
