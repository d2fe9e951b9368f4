"""A corpus of files in memory, which counts what is opened and what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import EmptyCorpus, FingerprintMismatch
from mrag_pipeline.ports import ListedSlice, UnreadFile


@dataclass
class FakeFile:
    """What a file holds; `edition` is its stamp."""

    items: list[Document | DeadLetter]
    edition: int = 1
    has_validator: bool = True


@dataclass
class FakeFiles:
    """A CorpusReader and ListingReader over files; a slice holds `step` items."""

    files: dict[str, FakeFile]
    step: int = 2
    opened: list[str] = field(default_factory=list)  # by listing
    read_paths: list[str] = field(default_factory=list)

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        for found in self.listed_slices(max_bytes, lambda *_: False):
            if isinstance(found, ListedSlice):
                yield found.piece

    def listed_slices(
        self, _: int, is_known: Callable[[str, str], bool]
    ) -> Iterator[ListedSlice | UnreadFile]:
        if not self.files:
            raise EmptyCorpus("no file")
        for path, file in sorted(self.files.items()):
            validator = str(file.edition) if file.has_validator else ""
            if validator and is_known(path, validator):
                yield UnreadFile(path, validator)
                continue
            self.opened.append(path)
            for start in range(0, len(file.items), self.step):
                stop = min(start + self.step, len(file.items))
                piece = Slice(path, "records", start, stop, stop - start, str(file.edition))
                yield ListedSlice(piece, validator)

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        for piece in slices:
            file = self.files[piece.path]
            if str(file.edition) != piece.stamp:
                raise FingerprintMismatch("the file has changed")
            self.read_paths.append(piece.path)
            yield from file.items[piece.start : piece.stop]

    def reading(self) -> dict[str, Any]:
        return {}

    def left_out(self) -> Iterator[str]:
        return iter(())

    def describe(self) -> str:
        return f"{len(self.files)} files in memory"
