"""JSON that is not a line for each object: an array, an object of arrays, objects in a row.

Each object is read by itself, as a line of JSON Lines is: one that is no JSON is set aside with its
place. Reading cannot start in the middle. So the file is cut by records, counted in one pass, and a
slice is reached by passing everything before it; readers of slices in order read the file once.
Memory is bounded by the largest document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.json_layout import JsonLayout
from mrag_pipeline.corpus.formats.json_record import json_record, num_objects
from mrag_pipeline.corpus.formats.json_scan import JsonPiece, Unfinished, json_pieces
from mrag_pipeline.corpus.formats.utf8_stream import utf8_stream
from mrag_pipeline.corpus.formats.whole_file import all_records
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile


class JsonValues:
    """One record for each object of the outermost arrays, or beside them."""

    fixed_fields = False
    mapping = None

    def __init__(
        self, request: FileRequest, layout: JsonLayout, first_name: bytes, is_wide: bool
    ) -> None:
        """Opens nothing yet.

        Args:
            first_name: of the first record, in its quotes.
            is_wide: in an encoding that cannot be cut, such as UTF-16.
        """
        self._first_name = first_name
        self.name = layout.value
        self._is_wrapped = layout is JsonLayout.WRAPPED
        self._limit = request.spec.max_document_bytes
        self._encoding = request.spec.encoding
        self._of_record = "" if is_wide else request.spec.encoding
        self._bookmark = request.bookmark

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice."""
        return all_records(file)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of records."""
        first = number = start = stop = 0
        for number, piece in enumerate(self._pieces(tree, file), 1):
            stop = piece.stop
            if stop - start >= max_bytes:
                yield Slice(file.path, "records", first, number, stop - start, file.stamp)
                first, start = number, stop
        if number > first:
            num_bytes = max(1, stop - start)
            yield Slice(file.path, "records", first, number, num_bytes, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The objects of the slice."""
        items = self._bookmark.read(piece, lambda: self._pieces(tree, tree.find(piece.path)))
        for number, item in items:
            yield from self._record(item, f"{piece.path}#{number + 1}")

    def _record(self, piece: JsonPiece, source: str) -> Iterator[Record | DeadLetter]:
        place = f"line {piece.line}, byte {piece.start}"
        if piece.num_bytes > self._limit:
            reason = f"it has {piece.num_bytes:,} bytes, expected at most {self._limit:,} ({place})"
            number = num_objects(piece.data, self._first_name)
            yield rejected(source, reason, piece.data, num_documents=number)
            return
        item = json_record(piece.data, self._of_record, source, place, first_name=self._first_name)
        if isinstance(item, Record) or not self._is_wrapped or not _is_json(piece.data):
            yield item  # the lists of a wrapping object may hold anything else

    def _pieces(self, tree: FileTree, file: SourceFile) -> Iterator[JsonPiece]:
        with utf8_stream(tree, file, self._encoding) as stream:
            try:
                yield from json_pieces(stream, self._limit, self._is_wrapped)
            except Unfinished as error:
                raise BrokenFile(
                    f"{tree.name(file.path)}: not JSON: {error}; a quote may be left open",
                    "a complete JSON text",
                    "repair the file, or convert it to one object on each line (.jsonl), "
                    "where a bad line is set aside by itself",
                ) from None


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
