"""Lines of a byte stream, in memory bounded by the longest line to be kept."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mrag_pipeline.corpus.file_tree import READ_BYTES


@dataclass(frozen=True, slots=True)
class Line:
    """One line, its newline included."""

    start: int  # byte offset
    data: bytes  # at most the limit; the rest of a longer line is skipped
    num_bytes: int  # of the whole line
    too_long: bool


def buffered(stream: Any) -> io.BufferedReader:
    """A pyarrow stream with Python's fast `readline`, which pyarrow lacks."""
    return io.BufferedReader(stream, READ_BYTES)


def lines(
    stream: io.BufferedReader, start: int, limit: int, stop: int | None = None
) -> Iterator[Line]:
    """The lines that begin before `stop`; the stream must be at the start of one.

    Args:
        start: the stream's position.
        limit: the longest line kept whole, in bytes, without its newline.
        stop: None reads to the end of the stream.
    """
    while stop is None or start < stop:
        data = stream.readline(limit + 1)
        if not data:
            return
        num_bytes = len(data)
        too_long = num_bytes > limit and not data.endswith(b"\n")
        if too_long:
            num_bytes += skip_line(stream)
        yield Line(start, data, num_bytes, too_long)
        start += num_bytes


def skip_line(stream: io.BufferedReader, max_bytes: int | None = None) -> int:
    """Reads past the next newline, or to the end of the stream; returns the number of bytes.

    Args:
        max_bytes: stops after about so many.
    """
    skipped = 0
    while max_bytes is None or skipped < max_bytes:
        piece = stream.readline(READ_BYTES)
        skipped += len(piece)
        if not piece or piece.endswith(b"\n"):
            break
    return skipped
