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
from mrag_pipeline.corpus.formats.charset import NotText, decoded_record
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.json_layout import JsonLayout
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

    def __init__(self, request: FileRequest, layout: JsonLayout) -> None:
        self.name = layout.value
        self._is_wrapped = layout is JsonLayout.WRAPPED
        self._limit = request.spec.max_document_bytes
        self._encoding = request.spec.encoding
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
            yield rejected(source, reason, piece.data)
            return
        try:
            values = json.loads(decoded_record(piece.data, self._encoding))
        except NotText as error:
            yield rejected(source, f"{error} ({place})", piece.data)
        except (ValueError, RecursionError) as error:
            yield rejected(source, f"not JSON: {error} ({place})", piece.data)
        else:
            if isinstance(values, dict):
                yield Record(values, source)
            elif not self._is_wrapped:  # the lists of a wrapping object may hold anything
                reason = f"a JSON {type(values).__name__}, expected an object ({place})"
                yield rejected(source, reason, piece.data)

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
