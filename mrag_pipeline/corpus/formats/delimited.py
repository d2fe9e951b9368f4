"""CSV and TSV: one pass finds where records begin, then each piece is read by itself.

A record ends at a newline outside of quotes, so its borders cannot be seen from the middle
of a file. Records are split here as Python's csv module would, but in bounded memory; csv
then reads each one. A quote that is never closed swallows the rest of the file: it is one
dead letter, which says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mrag_pipeline.corpus.field_mapping import rejected
from mrag_pipeline.corpus.file_tree import READ_BYTES, SourceFile, Tree
from mrag_pipeline.corpus.formats.lines import buffered
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.record_format import Record
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice, SliceUnit
from mrag_pipeline.errors import BrokenFile

DELIMITERS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
_EVERYTHING = 1 << 62
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
    """One record a row; the first row names the fields; values are strings."""

    name = "CSV"
    fixed_fields = True

    def __init__(self, max_record_bytes: int, bookmark: Bookmark | None = None) -> None:
        self._limit = max_record_bytes
        self._bookmark = bookmark or Bookmark()

    def whole(self, file: SourceFile) -> Slice:
        """The file as one piece."""
        if file.compression:
            return Slice(file.path, "records", 0, _EVERYTHING, file.num_bytes, file.stamp)
        return Slice(file.path, "bytes", 0, file.num_bytes, file.num_bytes, file.stamp)

    def cut(self, tree: Tree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of bytes that begin and end between records; of records if compressed."""
        unit: SliceUnit = "records" if file.compression else "bytes"
        with tree.stream(file) as opened:
            stream = buffered(opened)
            header = self._header(stream, tree.name(file.path))
            first = position = 0 if file.compression else header.num_bytes
            begun = header.num_bytes
            for number, row in enumerate(
                _rows(stream, header.num_bytes, self._limit, header.delimiter), 1
            ):
                stop = row.start + row.num_bytes
                position = number if file.compression else stop
                if stop - begun >= max_bytes:
                    yield Slice(file.path, unit, first, position, stop - begun, file.stamp)
                    first, begun = position, stop
            if position > first:
                yield Slice(file.path, unit, first, position, stop - begun, file.stamp)

    def records(self, tree: Tree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The rows of the piece."""
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
        self, tree: Tree, file: SourceFile, piece: Slice
    ) -> Iterator[Record | DeadLetter]:
        for number, (header, row) in self._bookmark.read(piece, lambda: self._all(tree, file)):
            yield from self._record(row, header, f"{piece.path}#{number + 1}")

    def _all(self, tree: Tree, file: SourceFile) -> Iterator[tuple[_Header, _Row]]:
        with tree.stream(file) as opened:
            stream = buffered(opened)
            header = self._header(stream, tree.name(file.path))
            for row in _rows(stream, header.num_bytes, self._limit, header.delimiter):
                yield header, row

    def _record(self, row: _Row, header: _Header, source: str) -> Iterator[Record | DeadLetter]:
        if row.too_long or row.open_quote:
            size = f"a record of {row.num_bytes:,} bytes, expected at most {self._limit:,}"
            reason = "a quote that is never closed" if row.open_quote else size
            more = "; a quote may be left open" if row.too_long and not row.open_quote else ""
            yield rejected(source, reason + more, row.data)
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
            reason = f"{len(values)} fields, the header has {len(header.fields)}"
            yield rejected(source, reason, row.data)
            return
        yield Record(dict(zip(header.fields, values, strict=True)), source)

    def _header(self, stream: io.BufferedReader, place: str) -> _Header:
        bom = len(_BOM) if stream.peek(len(_BOM)).startswith(_BOM) else 0
        stream.read(bom)
        first = next(_rows(stream, bom, _MAX_HEADER_BYTES, DELIMITERS), None)
        if first is None:
            return _Header((), ",", bom)
        try:
            text = first.data.decode("utf-8")
            delimiter = _delimiter(text)
            fields = tuple(_parsed(text, delimiter))
        except (UnicodeDecodeError, csv.Error) as error:
            fields, problem = (), str(error)
        else:
            problem = _wrong_header(fields, first)
        if problem:
            raise BrokenFile(
                f"{place}: the first row is no header: {problem}",
                "UTF-8 text whose first row names the fields, each once",
                "write the file again as UTF-8 with a header row",
            )
        return _Header(fields, delimiter, first.start + first.num_bytes)


def _wrong_header(fields: tuple[str, ...], row: _Row) -> str:
    if row.too_long or row.open_quote:
        return "it does not end"
    twice = sorted({name for name in fields if name and fields.count(name) > 1})
    if twice:
        return f"field {twice[0]!r} is named twice"
    return "" if any(name.strip() for name in fields) else "it names no field"


def _parsed(text: str, delimiter: str) -> list[str]:
    # A limit of the whole process; records are bounded already.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    return next(csv.reader([text], delimiter=delimiter), [])


def _delimiter(header: str) -> str:
    outside = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(DELIMITERS, key=lambda one: (outside.count(one), -DELIMITERS.index(one)))


def _rows(
    stream: io.BufferedReader, start: int, limit: int, delimiters: str, stop: int | None = None
) -> Iterator[_Row]:
    """The records that begin before `stop`, the stream standing at the beginning of one."""
    kept = bytearray()
    position, state = start, _START
    while True:
        if position == start and stop is not None and start >= stop:
            return
        piece = stream.readline(READ_BYTES)
        position += len(piece)
        kept += piece[: max(0, limit + 2 - len(kept))]
        state = _state_after(piece, state, delimiters.encode())
        ended = piece.endswith(b"\n") and state != _QUOTED
        if (ended or not piece) and position > start:
            data = bytes(kept).rstrip(b"\r\n") if ended else bytes(kept)
            num_bytes = position - start
            yield _Row(start, num_bytes, data[:limit], len(data) > limit, state == _QUOTED)
            kept.clear()
            start, state = position, _START
        if not piece:
            return


_START, _PLAIN, _QUOTED, _QUOTE_IN_QUOTED = range(4)  # the csv module's own states, in short


_QUOTED_TEXT = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


@cache
def _end_of_plain(ends: bytes) -> re.Pattern[bytes]:
    return re.compile(b"[" + re.escape(ends) + b"]")


def _state_after(piece: bytes, state: int, delimiters: bytes) -> int:
    """Where in a field a record stands after another piece of it."""
    if state != _QUOTED and b'"' not in piece:
        if piece[-1:] in (b"\n", b""):
            return _START if piece else state
        return _START if piece[-1] in delimiters else _PLAIN
    ends = delimiters + b"\r\n"
    end_of_plain = _end_of_plain(ends)
    at = 0
    while at < len(piece):
        if state == _QUOTED:
            quoted = _QUOTED_TEXT.match(piece, at)
            assert quoted  # it matches nothing, too
            if quoted.end() == len(piece):
                return _QUOTED
            at, state = quoted.end() + 1, _QUOTE_IN_QUOTED
        elif state == _PLAIN:
            end = end_of_plain.search(piece, at)
            if not end:
                return _PLAIN
            at, state = end.end(), _START
        else:
            byte = piece[at]
            state = _QUOTED if byte == ord('"') else _START if byte in ends else _PLAIN
            at += 1
    return state
