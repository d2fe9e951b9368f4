"""Finds where the rows of a CSV file begin and end, in bounded memory and linear time.

Knows quotes, delimiters and line ends, nothing of fields.
"""

from __future__ import annotations

import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mrag_pipeline.corpus.file_tree import READ_BYTES


@dataclass(frozen=True, slots=True)
class Row:
    """A row as its bytes are; its quotes are not looked into."""

    start: int  # byte offset
    num_bytes: int
    data: bytes  # at most the limit
    too_long: bool
    open_quote: bool  # the file ended within quotes
    num_lines: int


def rows(
    stream: io.BufferedReader, start: int, limit: int, delimiters: str, stop: int | None = None
) -> Iterator[Row]:
    """The records that begin before `stop`; the stream must be at the start of one."""
    row_bytes = bytearray()
    position, state, num_lines = start, _START, 0
    while True:
        if position == start and stop is not None and start >= stop:
            return
        piece = stream.readline(READ_BYTES)
        position += len(piece)
        row_bytes += piece[: max(0, limit + 2 - len(row_bytes))]
        num_lines += piece.endswith(b"\n") or not piece
        state = _state_after(
            piece.removeprefix(BOM_UTF8) if position - len(piece) == start else piece,
            state,
            delimiters.encode(),
        )
        ended = piece.endswith(b"\n") and state != _QUOTED
        if (ended or not piece) and position > start:
            data = bytes(row_bytes).rstrip(b"\r\n") if ended else bytes(row_bytes)
            num_bytes = position - start
            num_lines -= not piece and row_bytes.endswith(b"\n")  # nothing follows that line end
            too_long = len(data) > limit
            yield Row(start, num_bytes, data[:limit], too_long, state == _QUOTED, num_lines)
            row_bytes.clear()
            start, state, num_lines = position, _START, 0
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
