"""Several corpora read as one; each has its own files, format and fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, groupby
from typing import Any, TypeVar

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Slice
from mrag_pipeline.domain.version import PARTS
from mrag_pipeline.ports import (
    ChangesReader,
    CorpusReader,
    ListedSlice,
    ListingReader,
    Unchanged,
    UnreadFile,
)

_MARK = ":"  # between a part's name and a slice's path

Item = TypeVar("Item", Document | DeadLetter, Document | DeadLetter | Unchanged)

OpenPart = Callable[[str, Mapping[str, Any] | None], CorpusReader]


class SeveralCorpora:
    """A corpus reader over others, one after the other. Their names are part of what is planned."""

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        open_part: OpenPart,
        reading: Mapping[str, Any] | None = None,
        id_prefixes: Mapping[str, str] | None = None,
        left_out: Callable[[], Iterator[str]] | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            names: finds out the parts' names, without `:`; called once, when it is needed.
            open_part: opens a part, given its own reading if there is one.
            reading: what `reading()` of an earlier reader returned; None finds it out.
            id_prefixes: of the document ids of parts, by name.
            left_out: finds the files that no part reads; None: each part's own.
        """
        self._find_names = names
        self._open_part = open_part
        self._readings = None if reading is None else dict(reading.get(PARTS, {}))
        self._id_prefixes = dict(id_prefixes or {})
        self._find_left_out = left_out
        self._opened: dict[str, CorpusReader] = {}

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Every part's slices, in the order of the parts."""
        for name in self._names:
            for piece in self._part(name).slices(max_bytes):
                yield _named(piece, name)

    def listed_slices(
        self, max_bytes: int, is_known: Callable[[str, str], bool]
    ) -> Iterator[ListedSlice | UnreadFile]:
        """As `slices`; known files of parts that can tell them are not opened."""
        for name in self._names:
            part = self._part(name)
            if not isinstance(part, ListingReader):
                for piece in part.slices(max_bytes):
                    yield ListedSlice(_named(piece, name), "")
                continue
            for found in part.listed_slices(max_bytes, partial(_is_known_file, is_known, name)):
                if isinstance(found, UnreadFile):
                    yield UnreadFile(f"{name}{_MARK}{found.path}", found.validator)
                else:
                    yield ListedSlice(_named(found.piece, name), found.validator)

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The slices' documents, each read by its part."""
        for name, pieces in groupby(slices, key=lambda piece: piece.path.partition(_MARK)[0]):
            own = [replace(piece, path=piece.path.partition(_MARK)[2]) for piece in pieces]
            for item in self._part(name).read(own):
                yield _prefixed(item, self._id_prefixes.get(name, ""))

    def knows_changes(self) -> bool:
        """Whether any part does."""
        parts = (self._part(name) for name in self._names)
        return any(isinstance(part, ChangesReader) and part.knows_changes() for part in parts)

    def changes(
        self, is_known: Callable[[str], bool], overlap_s: float
    ) -> Iterator[Document | DeadLetter | Unchanged]:
        """Each part's changes; all documents of a part that cannot tell them."""
        for name in self._names:
            part, prefix = self._part(name), self._id_prefixes.get(name, "")
            if isinstance(part, ChangesReader):
                known = partial(_is_known, is_known, prefix)
                for item in part.changes(known, overlap_s):
                    yield _prefixed(item, prefix)
                continue
            for piece in part.slices(MAX_SHARD_BYTES):
                for item in part.read([piece]):
                    yield _prefixed(item, prefix)

    def reading(self) -> dict[str, Any]:
        """Each part's reading, by its name."""
        return {PARTS: {name: dict(self._part(name).reading()) for name in self._names}}

    def left_out(self) -> Iterator[str]:
        """The files that no part reads."""
        if self._find_left_out is not None:
            return self._find_left_out()
        return chain.from_iterable(self._part(name).left_out() for name in self._names)

    def describe(self) -> str:
        """The parts' own descriptions."""
        return "; ".join(self._part(name).describe() for name in self._names)

    @cached_property
    def _names(self) -> Sequence[str]:
        return self._find_names()

    def _part(self, name: str) -> CorpusReader:
        if name not in self._opened:
            # A part that came later finds out for itself.
            reading = None if self._readings is None else self._readings.get(name)
            self._opened[name] = self._open_part(name, reading)
        return self._opened[name]


def _named(piece: Slice, name: str) -> Slice:
    return replace(piece, path=f"{name}{_MARK}{piece.path}")


def _is_known_file(
    is_known: Callable[[str, str], bool], name: str, path: str, validator: str
) -> bool:
    return is_known(f"{name}{_MARK}{path}", validator)


def _is_known(is_known: Callable[[str], bool], prefix: str, document_id: str) -> bool:
    return is_known(prefix + document_id)


def _prefixed(item: Item, prefix: str) -> Item:
    if not prefix:
        return item
    if isinstance(item, Document):
        return replace(item, id=prefix + item.id)
    if isinstance(item, Unchanged):
        return replace(item, document_id=prefix + item.document_id)
    return replace(item, document_id=prefix + item.document_id) if item.document_id else item
