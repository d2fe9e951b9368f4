"""JSON Lines: one object on each line. Plain files are cut by bytes, without reading them.

A file in UTF-16 is read as a compressed one is: its bytes cannot be cut.

A line belongs to the range of bytes in which it begins. Reading cannot start in the middle of a
compressed file. So it is cut by lines, counted in one pass, and a slice is reached by
decompressing everything before it; readers of slices in order decompress the file once.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import lru_cache

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.json_layout import JsonLayout, json_layout
from mrag_pipeline.corpus.formats.json_record import first_name, json_record, num_objects
from mrag_pipeline.corpus.formats.json_values import JsonValues
from mrag_pipeline.corpus.formats.lines import Line, buffered, lines, skip_line
from mrag_pipeline.corpus.formats.utf8_stream import (
    HEAD_BYTES,
    head_of,
    utf8_stream,
    wide_encoding_of,
)
from mrag_pipeline.corpus.formats.whole_file import all_bytes, all_records
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice

_AROUND = b" \t\r\n\x1e"  # a line: white space, and the mark before each of RFC 7464's texts


class JsonLines:
    """One JSON object on each line; empty lines are skipped."""

    name = "JSON Lines"
    fixed_fields = False
    mapping = None

    def __init__(self, request: FileRequest, is_wide: bool, first_name: bytes) -> None:
        """Opens nothing yet.

        Args:
            is_wide: in an encoding that cannot be cut, such as UTF-16.
            first_name: of the first record, in its quotes.
        """
        self._first_name = first_name
        self._limit = request.spec.max_document_bytes
        self._encoding = request.spec.encoding
        self._bookmark = request.bookmark
        self._is_wide = is_wide
        self._of_record = "" if is_wide else request.spec.encoding

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice."""
        return all_records(file) if self._is_wide else all_bytes(file)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of `max_bytes`; ranges of lines if the file cannot be cut there."""
        if file.compression or self._is_wide:
            yield from self._cut_by_lines(tree, file, max_bytes)
            return
        for start in range(0, file.num_bytes, max_bytes):
            stop = min(start + max_bytes, file.num_bytes)
            yield Slice(file.path, "bytes", start, stop, stop - start, file.stamp)

    def _cut_by_lines(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        first = number = num_bytes = 0
        with utf8_stream(tree, file, self._encoding) as stream:
            for line in lines(stream, 0, self._limit):
                number += 1
                num_bytes += line.num_bytes
                if num_bytes >= max_bytes:
                    yield Slice(file.path, "records", first, number, num_bytes, file.stamp)
                    first, num_bytes = number, 0
        if number > first:
            yield Slice(file.path, "records", first, number, num_bytes, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The objects of the lines that begin in the slice."""
        if piece.unit == "records":
            yield from self._numbered(tree, piece)
            return
        with tree.random_access(piece.path) as opened:
            start = piece.start
            opened.seek(max(start - 1, 0))
            stream = buffered(opened)
            if start:
                start += skip_line(stream, piece.stop - start + 1) - 1
            for line in lines(stream, start, self._limit, piece.stop):
                yield from self._record(line, f"{piece.path}, byte {line.start}")

    def _numbered(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        for number, line in self._bookmark.read(piece, lambda: self._lines(tree, piece.path)):
            yield from self._record(line, f"{piece.path}:{number + 1}")

    def _lines(self, tree: FileTree, path: str) -> Iterator[Line]:
        with utf8_stream(tree, tree.find(path), self._encoding) as stream:
            yield from lines(stream, 0, self._limit)

    def _record(self, line: Line, source: str) -> Iterator[Record | DeadLetter]:
        # Files that were joined have a mark in the middle.
        data = line.data.removeprefix(BOM_UTF8)
        name = self._first_name
        if line.too_long:
            reason = f"the line has {line.num_bytes:,} bytes, expected at most {self._limit:,}"
            yield rejected(source, reason, data, num_documents=num_objects(data, name))
            return
        data = data.strip(_AROUND)
        if data.endswith(b"},"):  # an array of which only the brackets were taken away
            data = data[:-1]
        if data:
            expected = "an object on each line"
            yield json_record(data, self._of_record, source, expected=expected, first_name=name)


def open_json(request: FileRequest) -> JsonLines | JsonValues:
    """JSON Lines, or what else the file's beginning shows.

    Raises: BrokenFile, CorpusNotFound.
    """
    head = head_of(request)
    wide = wide_encoding_of(head, request.spec.encoding)
    layout, name = _shown_by(head, wide, request.spec.text_field)
    if layout is JsonLayout.LINES:
        return JsonLines(request, bool(wide), name)
    return JsonValues(request, layout, name, bool(wide))


@lru_cache(maxsize=4)  # asked for each slice of a file
def _shown_by(head: bytes, wide: str, text_field: str) -> tuple[JsonLayout, bytes]:
    """The layout, and the name that the first record begins with."""
    text = head.decode(wide or "utf-8", "replace").removeprefix("\ufeff")
    return json_layout(text, len(head) < HEAD_BYTES, text_field), first_name(text)
