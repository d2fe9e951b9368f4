"""The documents that a version has, as a sync compares them: by their ids' hashes, mostly on disk.

What happens if two ids share a hash: `compared_rows.py`.
Memory: a byte a document, and 8 bytes for each that is new. On disk, in the system's temporary
folder: 24 bytes a chunk, the ids, and 24 bytes a document that are mapped into memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.free_space import no_space
from mrag_pipeline.stages.spilled_rows import SpilledRows
from mrag_pipeline.stages.sync.compared_rows import first_byte, print_of

_ROW = np.dtype([("key", np.uint64), ("print", np.uint64), ("place", np.int64)])
_PREFIX_SHIFT, _NUM_PREFIXES = np.uint64(48), 65_536
_ROWS_IN_MEMORY = 250_000
_NEW_IN_MEMORY = 100_000
_WHAT = "the ids of the version's documents"


class Known(Protocol):
    """What a comparison asks of the version's documents."""

    def is_equal(self, document_id: str, fingerprint: str) -> bool | None:
        """Whether the version has the document so; None if it does not have it."""

    def see(self, document_id: str) -> bool:
        """Notes that the corpus has the document; False if that was noted before."""

    @property
    def num_seen(self) -> int:
        """How many documents were seen."""


class LookedUp:
    """Known documents that were looked up by their ids; all in memory."""

    def __init__(self, fingerprints: Mapping[str, str]) -> None:
        """Begins with what is in `fingerprints`, which may be filled meanwhile."""
        self._fingerprints = fingerprints
        self._seen: set[str] = set()

    def is_equal(self, document_id: str, fingerprint: str) -> bool | None:
        """Whether the fingerprint is the document's; None if it is not known."""
        known = self._fingerprints.get(document_id)
        return None if known is None else known == fingerprint

    def see(self, document_id: str) -> bool:
        """Notes it; False if it was noted before."""
        is_first = document_id not in self._seen
        self._seen.add(document_id)
        return is_first

    @property
    def num_seen(self) -> int:
        """How many documents were seen."""
        return len(self._seen)


class KnownDocuments:
    """All documents of a version, in temporary files until it is closed."""

    def __init__(self) -> None:
        """Empty: `add` all marks, then `settle`."""
        self._folder = tempfile.TemporaryDirectory(prefix="mrag-known-")
        self._rows = SpilledRows(_ROW, first_byte, _ROWS_IN_MEMORY, _WHAT)
        self._ids = self._file("ids").open("wb")
        self._place = 0
        self._keys = self._prints = np.zeros(0, np.uint64)
        self._places = np.zeros(0, np.int64)
        self._starts = np.zeros(_NUM_PREFIXES + 1, np.int64)
        self._is_seen = np.zeros(0, bool)
        self._num_known_seen = 0
        self._new = _Keys()

    def close(self) -> None:
        """Lets go of its temporary files."""
        with suppress(OSError):  # of a full disk, which was said where it filled up
            self._ids.close()
        self._rows.close()
        self._keys = self._prints = np.zeros(0, np.uint64)
        self._places = np.zeros(0, np.int64)
        self._folder.cleanup()

    # -------------------------------------------------------------- filling it
    def add(self, marks: Iterable[Mark]) -> None:
        """Adds rows of the version's chunks collection; any order.

        Raises: StorageFull.
        """
        fingerprints: dict[str, str] = {}
        fingerprints_of(marks, fingerprints)
        rows = np.empty(len(fingerprints), _ROW)
        with no_space(self._folder.name, _WHAT):
            for number, (document_id, fingerprint) in enumerate(fingerprints.items()):
                encoded = document_id.encode("utf-8", "surrogatepass")
                rows[number] = (text_key(document_id), print_of(fingerprint), self._place)
                self._ids.write(len(encoded).to_bytes(4, "little") + encoded)
                self._place += 4 + len(encoded)
        self._rows.add(rows)

    def settle(self) -> None:
        """All marks are added: sorts them, a 256th at a time.

        Raises: StorageFull.
        """
        with no_space(self._folder.name, _WHAT):
            self._ids.flush()
            counts = np.zeros(_NUM_PREFIXES, np.int64)
            with (
                self._file("keys").open("wb") as keys,
                self._file("prints").open("wb") as prints,
                self._file("places").open("wb") as places,
            ):
                for bucket in self._rows.buckets():
                    rows = _documents(bucket)
                    prefixes = (rows["key"] >> _PREFIX_SHIFT).astype(np.int64)
                    counts += np.bincount(prefixes, minlength=_NUM_PREFIXES)
                    for file, name in ((keys, "key"), (prints, "print"), (places, "place")):
                        file.write(np.ascontiguousarray(rows[name]).tobytes())
        self._rows.close()
        self._starts[1:] = np.cumsum(counts)
        self._keys = self._mapped("keys", np.uint64)
        self._prints = self._mapped("prints", np.uint64)
        self._places = self._mapped("places", np.int64)
        self._is_seen = np.zeros(len(self._keys), bool)

    # -------------------------------------------------------------- asking it
    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, document_id: object) -> bool:
        return self._row(text_key(str(document_id))) is not None

    def is_equal(self, document_id: str, fingerprint: str) -> bool | None:
        """Whether the version has the document so; None if it does not have it."""
        row = self._row(text_key(document_id))
        if row is None:
            return None
        return bool(self._prints[row] != 0 and int(self._prints[row]) == print_of(fingerprint))

    def see(self, document_id: str) -> bool:
        """Notes that the corpus has the document; False if that was noted before."""
        key = text_key(document_id)
        row = self._row(key)
        if row is None:
            return self._new.add(key)
        if self._is_seen[row]:
            return False
        self._is_seen[row] = True
        self._num_known_seen += 1
        return True

    @property
    def num_seen(self) -> int:
        """How many documents were seen, known ones and others."""
        return self._num_known_seen + len(self._new)

    @property
    def num_unseen(self) -> int:
        """How many known ones were not."""
        return len(self) - self._num_known_seen

    def unseen(self) -> Iterator[str]:
        """The ids of the known ones that were not seen."""
        with self._file("ids").open("rb") as ids:
            for place in np.sort(self._places[~self._is_seen]).tolist():
                ids.seek(place)
                length = int.from_bytes(ids.read(4), "little")
                yield ids.read(length).decode("utf-8", "surrogatepass")

    # -------------------------------------------------------------- inside
    def _row(self, key: int) -> int | None:
        prefix = key >> int(_PREFIX_SHIFT)
        start, stop = int(self._starts[prefix]), int(self._starts[prefix + 1])
        if start == stop:
            return None
        row = start + int(self._keys[start:stop].searchsorted(np.uint64(key)))
        return row if row < stop and int(self._keys[row]) == key else None

    def _file(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def _mapped(self, name: str, dtype: Any) -> NDArray[Any]:
        file = self._file(name)
        if not file.stat().st_size:  # nothing can be mapped of it
            return np.zeros(0, dtype)
        return np.memmap(file, dtype, mode="r")


class _Keys:
    """A set of keys: 8 bytes each, but for the newest."""

    def __init__(self) -> None:
        self._sorted = np.zeros(0, np.uint64)
        self._newest: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._newest)

    def add(self, key: int) -> bool:
        """Whether it was not there before."""
        if key in self._newest:
            return False
        place = int(self._sorted.searchsorted(np.uint64(key)))
        if place < len(self._sorted) and int(self._sorted[place]) == key:
            return False
        self._newest.add(key)
        if len(self._newest) >= _NEW_IN_MEMORY:
            newest = np.fromiter(self._newest, np.uint64, len(self._newest))
            self._sorted = np.sort(np.concatenate([self._sorted, newest]))
            self._newest.clear()
        return True


def fingerprints_of(marks: Iterable[Mark], known: dict[str, str]) -> None:
    """Adds each document's fingerprint; "" where its chunks disagree: it counts as changed."""
    for mark in marks:
        if known.setdefault(mark.document_id, mark.fingerprint) != mark.fingerprint:
            known[mark.document_id] = ""


def _documents(rows: NDArray[np.void]) -> NDArray[np.void]:
    """One row for each key; without a fingerprint where its chunks disagree."""
    rows = rows[np.lexsort((rows["print"], rows["key"]))]
    is_first = np.append(True, rows["key"][1:] != rows["key"][:-1])
    is_last = np.append(is_first[1:], True)
    documents: NDArray[np.void] = rows[is_first]
    documents["print"][documents["print"] != rows["print"][is_last]] = 0
    return documents
