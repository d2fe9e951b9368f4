"""CSV and TSV: one pass finds where records begin, then each slice is read by itself.

A record ends at a newline outside quotes, so its boundaries cannot be seen from the middle of a
file. Records are split here as Python's csv module would split them, but in bounded memory; csv
then parses each one. A quote that is not closed takes in the rows below it: they are one dead
letter, which stands for as many documents as it has lines.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mrag_pipeline.corpus.field_mapping import TEXTS
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.charset import NotText, decoded_record
from mrag_pipeline.corpus.formats.delimited_row import (
    is_comment,
    is_strict,
    parsed_row,
    swallowed,
)
from mrag_pipeline.corpus.formats.delimited_scan import Row, rows
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.lines import buffered
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.utf8_stream import (
    has_lone_returns,
    head_of,
    utf8_stream,
    wide_encoding_of,
)
from mrag_pipeline.corpus.formats.whole_file import all_bytes, all_records
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice, SliceUnit
from mrag_pipeline.errors import BrokenFile

DELIMITERS = ",;\t|"
_MAX_HEADER_BYTES = 1 << 20
_SEPARATOR = re.compile(rb'"?sep=([\t -~])"?', re.IGNORECASE)


_LONE_RETURN = "a carriage return ends a line, and other lines end otherwise: make them all alike"
_UNNAMED = "a column without a name: left out"
_ODD_QUOTE = "a quote closes in the middle of a field: the field may not be as it was meant"


@dataclass(frozen=True, slots=True)
class _Header:
    fields: tuple[str, ...]
    delimiter: str
    num_bytes: int  # where the first record begins
    has_comments: bool = False  # lines that begin with `#` stand above it


class DelimitedFiles:
    """One record for each row; the first row names the fields; values are strings."""

    name = "CSV"
    fixed_fields = True
    mapping = None

    def __init__(
        self,
        max_record_bytes: int,
        bookmark: Bookmark | None = None,
        encoding: str = "",
        is_changed: bool = False,
    ) -> None:
        """Opens nothing yet.

        Args:
            encoding: of the settings; "" if they name none.
            is_changed: in an encoding such as UTF-16, or with the line ends of old Macs; read as
                a compressed file is: its bytes cannot be cut.
        """
        self._limit = max_record_bytes
        self._bookmark = bookmark or Bookmark()
        self._encoding = encoding
        self._is_changed = is_changed
        self._of_record = "" if is_changed else encoding

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice."""
        return all_records(file) if self._is_changed else all_bytes(file)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """Ranges of bytes that begin and end between records; ranges of records if compressed."""
        by_number = bool(file.compression) or self._is_changed
        unit: SliceUnit = "records" if by_number else "bytes"
        with self._stream(tree, file) as stream:
            header = self._header(stream, tree.name(file.path))
            first = position = 0 if by_number else header.num_bytes
            start = header.num_bytes
            for number, row in enumerate(
                rows(stream, header.num_bytes, self._limit, header.delimiter), 1
            ):
                stop = row.start + row.num_bytes
                position = number if by_number else stop
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
            for row in rows(stream, start, self._limit, header.delimiter, piece.stop):
                yield from self._record(row, header, f"{piece.path}, byte {row.start}")

    def _numbered(
        self, tree: FileTree, file: SourceFile, piece: Slice
    ) -> Iterator[Record | DeadLetter]:
        for number, (header, row) in self._bookmark.read(piece, lambda: self._all(tree, file)):
            yield from self._record(row, header, f"{piece.path}#{number + 1}")

    def _all(self, tree: FileTree, file: SourceFile) -> Iterator[tuple[_Header, Row]]:
        with self._stream(tree, file) as stream:
            header = self._header(stream, tree.name(file.path))
            for row in rows(stream, header.num_bytes, self._limit, header.delimiter):
                yield header, row

    @contextmanager
    def _stream(self, tree: FileTree, file: SourceFile) -> Iterator[io.BufferedReader]:
        if self._is_changed:
            with utf8_stream(tree, file, self._encoding) as stream:
                yield stream
        else:
            with tree.stream(file) as opened:
                yield buffered(opened)

    def _record(self, row: Row, header: _Header, source: str) -> Iterator[Record | DeadLetter]:
        taken_in = f"{row.num_lines:,} line(s), {row.num_bytes:,} bytes"
        data = row.data.removeprefix(BOM_UTF8)  # files that were joined have a mark in the middle
        if row.too_long or row.open_quote:
            if row.open_quote:
                reason = f"a quote is never closed: it takes in the rest of the file, {taken_in}"
            else:
                reason = (
                    f"the record has {row.num_bytes:,} bytes, expected at most {self._limit:,}; "
                    f"a quote may be left open: it takes in {taken_in}"
                )
            yield rejected(source, reason, data, num_documents=row.num_lines)
            return
        try:
            text = decoded_record(data, self._of_record)
            values = parsed_row(text, header.delimiter)
        except NotText as error:
            yield rejected(source, str(error), data)
            return
        except csv.Error as error:
            num_lines = row.num_lines + text.count("\r")
            reason = f"not CSV: {error}" if "\r" not in text else _LONE_RETURN
            yield rejected(source, reason, data, num_documents=num_lines)
            return
        if not values or is_comment(text, values, header.fields, header.has_comments):
            return
        is_odd = '"' in text and not is_strict(text, header.delimiter)
        if row.num_lines > 1:
            problem = swallowed(text, header.delimiter, len(header.fields), is_odd)
            if problem:
                reason = f"{problem}: it takes in {taken_in}"
                yield rejected(source, reason, data, num_documents=row.num_lines)
                return
        if len(values) != len(header.fields):
            reason = f"{len(values)} field(s), the header names {len(header.fields)}"
            yield rejected(source, reason, data)
            return
        yield Record(
            {name: value for name, value in zip(header.fields, values, strict=True) if name},
            source,
            (*([_UNNAMED] if "" in header.fields else []), *([_ODD_QUOTE] if is_odd else [])),
        )

    def _header(self, stream: io.BufferedReader, name: str) -> _Header:
        position = len(BOM_UTF8) if stream.peek(len(BOM_UTF8)).startswith(BOM_UTF8) else 0
        stream.read(position)
        delimiter, has_comments = "", False
        while True:
            if stream.peek(1)[:1] == b"#":
                line = stream.readline(_MAX_HEADER_BYTES)
                commented = _commented_header(line, delimiter)
                position += len(line)
                if commented is not None:
                    fields, used = commented
                    return _Header(fields, used, position, has_comments)
                has_comments = True
                continue
            row = next(rows(stream, position, _MAX_HEADER_BYTES, DELIMITERS + delimiter), None)
            if row is None:
                return _Header((), ",", position)
            position += row.num_bytes
            named = _SEPARATOR.fullmatch(row.data)
            if named and not delimiter:  # for spreadsheets: `sep=;`
                delimiter = named[1].decode()
                continue
            if row.data.strip() or row.open_quote:
                break
        try:
            text = decoded_record(row.data, self._of_record)
            delimiter = delimiter or _delimiter(text)
            fields = tuple(parsed_row(text, delimiter))
        except (NotText, csv.Error) as error:
            fields, problem = (), str(error)
        else:
            problem = _header_problem(fields, row, text, delimiter)
        if problem:
            raise BrokenFile(
                f"{name}: the first row is not a header: {problem}",
                "text whose first row names the fields, each once",
                "save the file as UTF-8 with a header row",
            )
        return _Header(fields, delimiter, position, has_comments)


def open_delimited(request: FileRequest) -> DelimitedFiles:
    """CSV or TSV, by the delimiter in the header, or in a line `sep=;` above it.

    Raises: BrokenFile, CorpusNotFound.
    """
    spec = request.spec
    head = head_of(request)
    is_changed = bool(wide_encoding_of(head, spec.encoding)) or has_lone_returns(head)
    return DelimitedFiles(spec.max_document_bytes, request.bookmark, spec.encoding, is_changed)


def _commented_header(line: bytes, delimiter: str) -> tuple[tuple[str, ...], str] | None:
    """The fields of a header that begins with `#`, and its delimiter; None if it is a comment."""
    text = line.decode("utf-8", "replace").lstrip("#").strip()
    delimiter = delimiter or _delimiter(text)
    try:
        fields = tuple(name.strip() for name in parsed_row(text, delimiter))
    except csv.Error:
        return None
    is_header = len(fields) > 1 and any(name.lower() in TEXTS for name in fields)
    return (fields, delimiter) if is_header and len(set(fields)) == len(fields) else None


def _header_problem(fields: tuple[str, ...], row: Row, text: str, delimiter: str) -> str:
    if row.too_long or row.open_quote:
        return "it does not end"
    if row.num_lines > 1 and not is_strict(text, delimiter):
        return "a quote is left open in it"
    repeated = sorted({name for name in fields if name and fields.count(name) > 1})
    if repeated:
        return f"field {repeated[0]!r} is named twice"
    return "" if any(name.strip() for name in fields) else "it names no field"


def _delimiter(header: str) -> str:
    unquoted = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(DELIMITERS, key=lambda char: (unquoted.count(char), -DELIMITERS.index(char)))
