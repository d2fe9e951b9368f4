"""A file's bytes from its start as UTF-8 without a mark, whatever it is written in.

What cannot be cut at a byte is turned into UTF-8 here. Older encodings in which a byte of ASCII is
always that character are left to who decodes a record, so that a bad one costs that record.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO

from mrag_pipeline.corpus.file_tree import READ_BYTES, FileTree
from mrag_pipeline.corpus.formats.charset import codec_of, is_utf8, mark_of, wide_encoding
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.source_file import SourceFile

HEAD_BYTES = 1 << 16
_LIKE_ASCII = ("cp932", "gb18030", "big5hkscs", "iso2022_jp_ext")


def head_of(request: FileRequest) -> bytes:
    """The beginning of the file, decompressed; read once for all its slices.

    Raises: BrokenFile, CorpusNotFound.
    """

    def read() -> bytes:
        with request.tree.stream(request.file) as stream:
            return stream.read(HEAD_BYTES)

    return request.bookmark.head(request.file, read)


@lru_cache(maxsize=4)  # asked for each slice of a file
def wide_encoding_of(head: bytes, named: str) -> str:
    """The encoding of a file that begins so, if its bytes cannot be cut as ASCII's can; else "".

    UTF-16 and UTF-32; and, where the settings name them, encodings whose characters hold bytes
    of quotes, brackets and backslashes: Shift_JIS, GBK, Big5, ISO-2022-JP.

    Args:
        named: the encoding of the settings; "" detects.
    """
    mark, _ = mark_of(head)
    name = mark or (codec_of(named) if named else wide_encoding(head))
    if name.startswith(("utf-16", "utf-32")):
        return name
    if mark or name not in _LIKE_ASCII:
        return ""
    # The settings name what is not UTF-8: a file that is UTF-8 is read as that.
    is_other = head.isascii() if name.startswith("iso2022") else not is_utf8(head)
    return name if is_other else ""


def has_lone_returns(head: bytes) -> bool:
    """Whether a file that begins so has the line ends of old Macs: carriage returns alone."""
    return b"\r" in head.rstrip() and b"\n" not in head


@contextmanager
def utf8_stream(tree: FileTree, file: SourceFile, named: str) -> Iterator[io.BufferedReader]:
    """The file opened at its start, its lines ended by a line feed; reading raises BrokenFile.

    Args:
        named: the encoding of the settings; "" detects.
    """
    with tree.stream(file) as stream:
        head = stream.read(HEAD_BYTES)
        wide = wide_encoding_of(head, named)
        _, mark = mark_of(head)
        is_mac = not wide and has_lone_returns(head)
        yield io.BufferedReader(_Transcoded(stream, head[mark:], wide, is_mac), READ_BYTES)


class _Transcoded(io.RawIOBase):
    """A stream after its head, as UTF-8."""

    def __init__(self, stream: IO[bytes], head: bytes, wide: str, is_mac: bool) -> None:
        self._stream = stream
        self._is_mac = is_mac
        self._head: bytes = head
        # Half a pair of surrogates costs a character; other bytes that are none, their record.
        self._errors = "replace" if wide.startswith("utf") else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(wide)(self._errors) if wide else None
        self._ready = b""
        self._has_ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._ready and not self._has_ended:
            data = self._head or self._stream.read(READ_BYTES)
            self._head = b""
            self._has_ended = not data
            if self._decoder is None:
                self._ready = data.replace(b"\r", b"\n") if self._is_mac else data
            else:
                text = self._decoder.decode(data, final=self._has_ended)
                self._ready = text.encode("utf-8", self._errors)
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
