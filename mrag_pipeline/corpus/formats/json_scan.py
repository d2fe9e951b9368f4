"""Finds where the values of a JSON text begin and end, in bounded memory and linear time.

Knows brackets and strings, nothing else of JSON: a value that is no JSON is still told apart from
its neighbours, so that it can be set aside by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from mrag_pipeline.corpus.file_tree import READ_BYTES


@dataclass(frozen=True, slots=True)
class JsonPiece:
    """One value of the text as it is written."""

    start: int  # byte offset
    line: int  # from 1
    data: bytes  # at most the limit
    num_bytes: int
    stop: int  # byte offset


class Unfinished(Exception):
    """The text ends within a value; the message says where that began."""


_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_MARK = re.compile(rb'["\[\]{}]')
_WRAPPER_MARK = re.compile(rb'["\[\]{}:,]')
_END_OF_SCALAR = re.compile(rb'["\[\]{},\n]')
_SPACE = re.compile(rb"[ \t\r\n\x00]*")
_OPENING, _CLOSING = b"[{", b"]}"
_WITHIN_WRAPPER = -1


def json_pieces(stream: IO[bytes], limit: int, is_wrapped: bool = False) -> Iterator[JsonPiece]:
    """The elements of the outermost arrays, and the values that stand beside them.

    Args:
        limit: of a longer value only the beginning is kept, in bytes.
        is_wrapped: the text is an object; its arrays are opened, its other values left out.
    Raises: Unfinished, after the last whole value.
    """
    scan = _Scan(limit, is_wrapped)
    while chunk := stream.read(READ_BYTES // 4):
        yield from scan.feed(chunk)
    yield from scan.end()


class _Scan:
    def __init__(self, limit: int, is_wrapped: bool) -> None:
        self._limit = limit
        self._is_wrapped = is_wrapped
        self._depth = 0  # brackets that are open
        self._level = 0  # of them are open around the values that are taken
        self._in_string = self._is_escaped = False
        self._is_named = False  # the wrapper's next value has a key
        self._kept = bytearray()  # of the value that is being read
        self._start = -1  # its byte offset; -1 between values
        self._start_line = self._outer_line = 1
        self._is_scalar = self._ends_here = False
        self._base = 0  # byte offset of the chunk
        self._line, self._counted = 1, 0  # at which position in the chunk

    def feed(self, chunk: bytes) -> Iterator[JsonPiece]:
        position = kept_from = self._counted = 0
        while position < len(chunk):
            if self._in_string:
                position = self._after_string(chunk, position)
            elif self._start >= 0:
                position = self._in_value(chunk, position)
                if self._ends_here:
                    yield self._piece(chunk, kept_from, position)
            elif self._level == _WITHIN_WRAPPER:
                position = self._in_wrapper(chunk, position)
            else:
                position = self._between(chunk, position)
                kept_from = position
        if self._start >= 0:
            self._keep(chunk, kept_from, len(chunk))
        self._line_at(chunk, len(chunk))
        self._base += len(chunk)

    def end(self) -> Iterator[JsonPiece]:
        if self._start >= 0 and self._is_scalar and not self._depth and not self._in_string:
            yield self._piece(b"", 0, 0)
        elif self._start >= 0:
            raise Unfinished(f"the value that begins at line {self._start_line} never ends")
        elif self._depth or self._in_string:
            raise Unfinished(f"the bracket at line {self._outer_line} is never closed")

    def _between(self, chunk: bytes, position: int) -> int:
        """Passes what stands between values; begins the next one, without passing it."""
        found = _SPACE.match(chunk, position)
        assert found
        position = found.end()
        if position == len(chunk):
            return position
        byte = chunk[position : position + 1]
        if byte == b"}" and self._level == 2:
            pass  # closes nothing: an object of the wrapper's array has lost its beginning
        elif byte in _CLOSING and self._depth:
            self._depth -= 1
            self._level = _WITHIN_WRAPPER if self._depth else 0
        elif not self._depth and (byte == b"[" or (byte == b"{" and self._is_wrapped)):
            self._depth = 1
            self._level = 1 if byte == b"[" else _WITHIN_WRAPPER
            self._outer_line = self._line_at(chunk, position)
        elif byte != b",":
            self._start = self._base + position
            self._start_line = self._line_at(chunk, position)
            self._is_scalar = byte not in _OPENING
            self._ends_here = False
            self._kept.clear()
            return position
        return position + 1

    def _in_wrapper(self, chunk: bytes, position: int) -> int:
        """Passes the keys and values of the wrapping object up to its next array."""
        found = _WRAPPER_MARK.search(chunk, position)
        if found is None:
            return len(chunk)
        mark, position = found[0], found.end()
        was_named, self._is_named = self._is_named, mark == b":"
        if mark in b":,":
            pass
        elif mark == b'"':
            self._in_string = True
        elif mark == b"{" and self._depth == 1 and not was_named:
            self._depth = self._level = 2  # an array that a stray bracket closed goes on
            return found.start()
        elif mark in _OPENING:
            self._depth += 1
            if mark == b"[" and self._depth == 2:
                self._level = 2
        else:
            self._depth -= 1
            if not self._depth:
                self._level = 0
        return position

    def _in_value(self, chunk: bytes, position: int) -> int:
        """Goes on to the value's end, or to the next string in it."""
        if self._is_scalar:
            return self._in_scalar(chunk, position)
        while position < len(chunk):
            found = _MARK.search(chunk, position)
            if found is None:
                return len(chunk)
            mark, position = found[0], found.end()
            if mark == b'"':
                self._in_string = True
                position = self._after_string(chunk, position)
            elif mark in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == self._level:
                    self._ends_here = True
                    return position
        return position

    def _in_scalar(self, chunk: bytes, position: int) -> int:
        found = _END_OF_SCALAR.search(chunk, position)
        if found is None:
            return len(chunk)
        if found[0] == b'"':
            self._in_string = True
            return found.end()
        if self._base + found.start() == self._start:  # a bracket that closes nothing
            return found.end()
        self._ends_here = True
        return found.start()

    def _after_string(self, chunk: bytes, position: int) -> int:
        """Passes the rest of a string, or what the chunk has of it."""
        if self._is_escaped:
            position, self._is_escaped = position + 1, False
        quote = chunk.find(b'"', position)
        if quote < 0 or chunk[quote - 1 : quote] == b"\\":
            found = _IN_STRING.match(chunk, position)
            assert found  # it also matches nothing
            quote = found.end()
        if quote < len(chunk):
            self._is_escaped = chunk[quote : quote + 1] == b"\\"  # the chunk's last byte
            self._in_string = self._is_escaped
        return quote + 1

    def _piece(self, chunk: bytes, kept_from: int, stop: int) -> JsonPiece:
        self._keep(chunk, kept_from, stop)
        start, end = self._start, self._base + stop
        self._start = -1
        return JsonPiece(start, self._start_line, bytes(self._kept), end - start, end)

    def _keep(self, chunk: bytes, start: int, stop: int) -> None:
        self._kept += chunk[start : min(stop, start + max(0, self._limit + 1 - len(self._kept)))]

    def _line_at(self, chunk: bytes, position: int) -> int:
        self._line += chunk.count(b"\n", self._counted, position)
        self._counted = max(self._counted, position)
        return self._line
