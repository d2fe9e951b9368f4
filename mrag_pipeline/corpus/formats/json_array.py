"""A file that is one JSON array of objects, read as a stream (ijson).

Such a file cannot be entered in the middle: it is cut by records, counted in one pass that
also shows it to be JSON to its end, and a piece is reached by parsing what lies before it, once
where pieces are read in order.
Memory is bounded by the largest object of the array.
"""

from __future__ import annotations

from collections.abc import Iterator

import ijson  # type: ignore[import-untyped]

from mrag_pipeline.corpus.field_mapping import rejected
from mrag_pipeline.corpus.file_tree import READ_BYTES, SourceFile, Tree
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.record_format import Record
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile

_EVERYTHING = 1 << 62


class JsonArray:
    """One record for each object of the file's outermost array."""

    name = "JSON array"
    fixed_fields = False

    def __init__(self, bookmark: Bookmark | None = None) -> None:
        self._bookmark = bookmark or Bookmark()

    def whole(self, file: SourceFile) -> Slice:
        """The file as one piece."""
        return Slice(file.path, "records", 0, _EVERYTHING, file.num_bytes, file.stamp)

    def cut(self, tree: Tree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of records; their bytes as far as the parser had read when it gave them."""
        first = number = begun = position = 0
        for number, position, _ in self._items(tree, file):
            if position - begun >= max_bytes:
                yield Slice(file.path, "records", first, number, position - begun, file.stamp)
                first, begun = number, position
        if number > first:
            num_bytes = max(1, position - begun)
            yield Slice(file.path, "records", first, number, num_bytes, file.stamp)

    def records(self, tree: Tree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The objects of the piece."""
        items = self._bookmark.read(piece, lambda: self._items(tree, tree.find(piece.path)))
        for _, (number, _, values) in items:
            source = f"{piece.path}#{number}"
            if isinstance(values, dict):
                yield Record(values, source)
            else:
                yield rejected(source, f"a JSON {type(values).__name__}, expected an object")

    def _items(self, tree: Tree, file: SourceFile) -> Iterator[tuple[int, int, object]]:
        with tree.stream(file) as stream:
            source = _Counted(stream)
            items = ijson.items(source, "item", use_float=True, buf_size=READ_BYTES // 16)
            try:
                for number, values in enumerate(items, 1):
                    yield number, source.position, values
            except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
                raise BrokenFile(
                    f"{tree.name(file.path)}: not JSON: {str(error).splitlines()[0]}",
                    "one JSON array of objects",
                    "repair the file, or write one object a line (.jsonl): "
                    "there a bad line costs that line only",
                ) from error


class _Counted:
    """A stream that knows how far it was read."""

    def __init__(self, stream: object) -> None:
        self._read = stream.read  # type: ignore[attr-defined]
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._read(size)
        self.position += len(data)
        return data


def begins_array(tree: Tree, file: SourceFile) -> bool:
    """Whether a `.json` file is an array; else it is taken as JSON Lines."""
    with tree.stream(file) as stream:
        head = stream.read(4096)
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
