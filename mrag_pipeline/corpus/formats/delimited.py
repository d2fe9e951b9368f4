"""CSV and TSV: one pass finds where records begin, then each slice is read by itself.

A record ends at a newline outside quotes, so its boundaries cannot be seen from the middle of a
file. Records are split here as Python's csv module would split them, but in bounded memory; csv
then parses each one. A quote that is never closed takes in the rest of the file: that is one
dead letter, whose reason says so.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mrag_pipeline.corpus.file_tree import READ_BYTES, FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.lines import buffered
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.whole_file import all_bytes
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice, SliceUnit
from mrag_pipeline.errors import BrokenFile

DELIMITERS = ",;\t|"
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Header:
    fields: tuple[str, ...]
    delimiter: str
    num_bytes: int  # where the first record begins


@dataclass(frozen=True, slots=True)
class _Row:
    start: int  # byte offset
    num_bytes: int
    data: bytes  # at most the limit
    too_long: bool
    open_quote: bool  # the file ended within quotes


class DelimitedFiles:
    """One record for each row; the first row names the fields; values are strings."""

    name = "CSV"
    fixed_fields = True
    mapping = None

    def __init__(self, max_record_bytes: int, bookmark: Bookmark | None = None) -> None:
        self._limit = max_record_bytes
        self._bookmark = bookmark or Bookmark()

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice."""
        return all_bytes(file)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of bytes that begin and end between records; ranges of records if compressed."""
        unit: SliceUnit = "records" if file.compression else "bytes"
        with tree.stream(file) as opened:
            stream = buffered(opened)
            header = self._header(stream, tree.name(file.path))
            first = position = 0 if file.compression else header.num_bytes
            start = header.num_bytes
            for number, row in enumerate(
                _rows(stream, header.num_bytes, self._limit, header.delimiter), 1
            ):
                stop = row.start + row.num_bytes
                position = number if file.compression else stop
                if stop - start >= max_bytes:
                    yield Slice(file.path, unit, first, position, stop - start, file.stamp)
                    first, start = position, stop
            if position > first:
                yield Slice(file.path, unit, first, position, stop - start, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The rows of the slice."""
        file = tree.find(piece.path)
        if piece.unit == "records":
            yield from self._numbered(tree, file, piece)
            return
        with tree.random_access(piece.path) as opened:
            stream = buffered(opened)
            header = self._header(stream, tree.name(piece.path))
            start = max(piece.start, header.num_bytes)
            stream.seek(start)
            for row in _rows(stream, start, self._limit, header.delimiter, piece.stop):
                yield from self._record(row, header, f"{piece.path}, byte {row.start}")

    def _numbered(
        self, tree: FileTree, file: SourceFile, piece: Slice
    ) -> Iterator[Record | DeadLetter]:
        for number, (header, row) in self._bookmark.read(piece, lambda: self._all(tree, file)):
            yield from self._record(row, header, f"{piece.path}#{number + 1}")

    def _all(self, tree: FileTree, file: SourceFile) -> Iterator[tuple[_Header, _Row]]:
        with tree.stream(file) as opened:
            stream = buffered(opened)
            header = self._header(stream, tree.name(file.path))
            for row in _rows(stream, header.num_bytes, self._limit, header.delimiter):
                yield header, row

    def _record(self, row: _Row, header: _Header, source: str) -> Iterator[Record | DeadLetter]:
        if row.too_long or row.open_quote:
            if row.open_quote:
                reason = "a quote is never closed"
            else:
                reason = (
                    f"the record has {row.num_bytes:,} bytes, expected at most {self._limit:,}; "
                    "a quote may be left open"
                )
            yield rejected(source, reason, row.data)
            return
        try:
            text = row.data.decode("utf-8")
            values = _parsed(text, header.delimiter)
        except UnicodeDecodeError as error:
            yield rejected(source, f"not UTF-8: {error.reason} at byte {error.start}", row.data)
            return
        except csv.Error as error:
            yield rejected(source, f"not CSV: {error}", row.data)
            return
        if not values:
            return
        if len(values) != len(header.fields):
            reason = f"{len(values)} field(s), the header names {len(header.fields)}"
            yield rejected(source, reason, row.data)
            return
        yield Record(dict(zip(header.fields, values, strict=True)), source)

    def _header(self, stream: io.BufferedReader, name: str) -> _Header:
        bom = len(BOM_UTF8) if stream.peek(len(BOM_UTF8)).startswith(BOM_UTF8) else 0
        stream.read(bom)
        row = next(_rows(stream, bom, _MAX_HEADER_BYTES, DELIMITERS), None)
        if row is None:
            return _Header((), ",", bom)
        try:
            text = row.data.decode("utf-8")
            delimiter = _delimiter(text)
            fields = tuple(_parsed(text, delimiter))
        except (UnicodeDecodeError, csv.Error) as error:
            fields, problem = (), str(error)
        else:
            problem = _header_problem(fields, row)
        if problem:
            raise BrokenFile(
                f"{name}: the first row is not a header: {problem}",
                "UTF-8 text whose first row names the fields, each once",
                "save the file as UTF-8 with a header row",
            )
        return _Header(fields, delimiter, row.start + row.num_bytes)


def open_delimited(request: FileRequest) -> DelimitedFiles:
    """CSV or TSV, by the delimiter in the header."""
    return DelimitedFiles(request.spec.max_document_bytes, request.bookmark)


def _header_problem(fields: tuple[str, ...], row: _Row) -> str:
    if row.too_long or row.open_quote:
        return "it does not end"
    repeated = sorted({name for name in fields if name and fields.count(name) > 1})
    if repeated:
        return f"field {repeated[0]!r} is named twice"
    return "" if any(name.strip() for name in fields) else "it names no field"


def _parsed(text: str, delimiter: str) -> list[str]:
    # The limit holds for the whole process; records are bounded already.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    return next(csv.reader([text], delimiter=delimiter), [])


def _delimiter(header: str) -> str:
    unquoted = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(DELIMITERS, key=lambda char: (unquoted.count(char), -DELIMITERS.index(char)))


def _rows(
    stream: io.BufferedReader, start: int, limit: int, delimiters: str, stop: int | None = None
) -> Iterator[_Row]:
    """The records that begin before `stop`; the stream must be at the start of one."""
    row_bytes = bytearray()
    position, state = start, _START
    while True:
        if position == start and stop is not None and start >= stop:
            return
        piece = stream.readline(READ_BYTES)
        position += len(piece)
        row_bytes += piece[: max(0, limit + 2 - len(row_bytes))]
        state = _state_after(piece, state, delimiters.encode())
        ended = piece.endswith(b"\n") and state != _QUOTED
        if (ended or not piece) and position > start:
            data = bytes(row_bytes).rstrip(b"\r\n") if ended else bytes(row_bytes)
            num_bytes = position - start
            yield _Row(start, num_bytes, data[:limit], len(data) > limit, state == _QUOTED)
            row_bytes.clear()
            start, state = position, _START
        if not piece:
            return


_START, _PLAIN, _QUOTED, _QUOTE_IN_QUOTED = range(4)  # a summary of the csv module's own states


_QUOTED_TEXT = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


@cache
def _end_of_plain(ends: bytes) -> re.Pattern[bytes]:
    return re.compile(b"[" + re.escape(ends) + b"]")


def _state_after(piece: bytes, state: int, delimiters: bytes) -> int:
    """The parser's state after another piece of a record."""
    if state != _QUOTED and b'"' not in piece:
        if piece[-1:] in (b"\n", b""):
            return _START if piece else state
        return _START if piece[-1] in delimiters else _PLAIN
    ends = delimiters + b"\r\n"
    end_of_plain = _end_of_plain(ends)
    position = 0
    while position < len(piece):
        if state == _QUOTED:
            quoted = _QUOTED_TEXT.match(piece, position)
            assert quoted  # the pattern also matches the empty string
            if quoted.end() == len(piece):
                return _QUOTED
            position, state = quoted.end() + 1, _QUOTE_IN_QUOTED
        elif state == _PLAIN:
            end = end_of_plain.search(piece, position)
            if not end:
                return _PLAIN
            position, state = end.end(), _START
        else:
            byte = piece[position]
            state = _QUOTED if byte == ord('"') else _START if byte in ends else _PLAIN
            position += 1
    return state
