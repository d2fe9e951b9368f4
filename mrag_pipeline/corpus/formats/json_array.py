"""JSON: a file that is one array of objects, read as a stream (ijson); else JSON Lines.

Reading cannot start in the middle of an array. So the file is cut by records, counted in one pass
that also checks the JSON to its end, and a slice is reached by parsing everything before it;
readers of slices in order parse the file once.
Memory is bounded by the largest object of the array.
"""

from __future__ import annotations

from collections.abc import Iterator

import ijson  # type: ignore[import-untyped]

from mrag_pipeline.corpus.file_tree import READ_BYTES, FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.jsonl import JsonLines, open_json_lines
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.whole_file import all_records
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile


class JsonArray:
    """One record for each object of the outermost array."""

    name = "JSON array"
    fixed_fields = False
    mapping = None

    def __init__(self, bookmark: Bookmark | None = None) -> None:
        self._bookmark = bookmark or Bookmark()

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice."""
        return all_records(file)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of records; their size is how far the parser had read when it returned them."""
        first = number = start = position = 0
        for number, position, _ in self._items(tree, file):
            if position - start >= max_bytes:
                yield Slice(file.path, "records", first, number, position - start, file.stamp)
                first, start = number, position
        if number > first:
            num_bytes = max(1, position - start)
            yield Slice(file.path, "records", first, number, num_bytes, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The objects of the slice."""
        items = self._bookmark.read(piece, lambda: self._items(tree, tree.find(piece.path)))
        for _, (number, _, values) in items:
            source = f"{piece.path}#{number}"
            if isinstance(values, dict):
                yield Record(values, source)
            else:
                yield rejected(source, f"a JSON {type(values).__name__}, expected an object")

    def _items(self, tree: FileTree, file: SourceFile) -> Iterator[tuple[int, int, object]]:
        with tree.stream(file) as stream:
            source = _CountedStream(stream)
            items = ijson.items(source, "item", use_float=True, buf_size=READ_BYTES // 16)
            try:
                for number, values in enumerate(items, 1):
                    yield number, source.position, values
            except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
                raise BrokenFile(
                    f"{tree.name(file.path)}: not JSON: {str(error).splitlines()[0]}",
                    "one JSON array of objects",
                    "repair the file, or convert it to one object on each line (.jsonl), "
                    "where a bad line is set aside by itself",
                ) from error


class _CountedStream:
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: object) -> None:
        self._read = stream.read  # type: ignore[attr-defined]
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._read(size)
        self.position += len(data)
        return data


def open_json(request: FileRequest) -> JsonArray | JsonLines:
    """An array of objects if the file begins with `[`, else JSON Lines."""
    if _begins_array(request.tree, request.file):
        return JsonArray(request.bookmark)
    return open_json_lines(request)


def _begins_array(tree: FileTree, file: SourceFile) -> bool:
    with tree.stream(file) as stream:
        head = stream.read(4096)
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
