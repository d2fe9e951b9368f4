"""Files below one place, on any pyarrow filesystem: listed, stamped, opened.

Knows nothing of what the files hold. Paths are relative to the place, with `/`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs
from wcmatch import glob

from mrag_pipeline.errors import BrokenFile, ConfigError, CorpusError, CorpusNotFound

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
READ_BYTES = 1 << 20  # one read-ahead buffer

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_GLOB = re.compile(r"[*\[{]")  # no "?": in a URI it starts the filesystem's options
_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.FORCEUNIX


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus."""

    path: str
    num_bytes: int
    stamp: str  # size and time of last change

    @property
    def compression(self) -> str | None:
        """The compression as pyarrow names it, by the file's name."""
        return COMPRESSIONS.get(PurePosixPath(self.path).suffix.lower())

    @property
    def suffix(self) -> str:
        """The lower-case suffix that tells the format: `.jsonl` of `a.jsonl.gz`."""
        path = PurePosixPath(self.path)
        return (path.with_suffix("") if self.compression else path).suffix.lower()


class Tree:
    """A file, a folder, or the files a glob names, as one listing."""

    def __init__(self, uri: str) -> None:
        self.uri = _shown(uri)  # for people
        place, self._pattern = _split_glob(uri)
        self._root: str
        try:
            if _URI.match(place):
                self._filesystem, self._root = pafs.FileSystem.from_uri(place)
            else:
                self._filesystem = pafs.LocalFileSystem()
                self._root = os.path.abspath(os.path.expanduser(place))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigError(
                f"corpus {self.uri!r}: {_first_line(error)}",
                "a path, or a URI that pyarrow can open (file://, s3://, gs://)",
                "check `uri`",
            ) from error
        except OSError as error:
            raise self._no_answer(error) from error
        self._local = isinstance(self._filesystem, pafs.LocalFileSystem)
        self._place = _shown(place)
        self._holds_one: bool | None = None

    def __str__(self) -> str:
        return self.uri

    @property
    def names_files(self) -> bool:
        """Whether the URI says which files: by a whole name, or a pattern that ends in a suffix."""
        return "." in self._pattern.rpartition("/")[2] if self._pattern else self.is_file

    def files(self, include: tuple[str, ...] = ()) -> list[SourceFile]:
        """The files, sorted by path; hidden ones left out.

        Raises: CorpusNotFound; CorpusError when the filesystem does not answer.
        """
        with self._answering():
            info = self._filesystem.get_file_info(self._root)
            if info.type == pafs.FileType.NotFound:
                raise CorpusNotFound(
                    f"corpus {self.uri!r}: no such file or folder", "", self._hint()
                )
            if info.type == pafs.FileType.File:
                return [_source(os.path.basename(self._root), info.size, info.mtime_ns)]
            found = self._walk() if self._local else self._select()
            patterns = ((self._pattern,) if self._pattern else ()) + include
            return sorted(
                (
                    file
                    for file in found
                    if _visible(file.path)
                    and (not self._pattern or _matches(file.path, self._pattern))
                    and (not include or any(_matches_any_depth(file.path, p) for p in include))
                ),
                key=lambda file: file.path.encode("utf-8", "surrogateescape"),
            ) or self._none_found(patterns)

    def find(self, path: str) -> SourceFile:
        """The file as it is now.

        Raises: CorpusNotFound if it is gone.
        """
        with self._answering():
            full = self._full(path)
            if self._local:
                try:
                    state = os.stat(full)
                except (FileNotFoundError, NotADirectoryError):
                    raise self._gone(path) from None
                return _source(path, state.st_size, state.st_mtime_ns)
            info = self._filesystem.get_file_info(full)
            if info.type != pafs.FileType.File:
                raise self._gone(path)
            return _source(path, info.size, info.mtime_ns)

    @contextmanager
    def stream(self, file: SourceFile) -> Iterator[IO[bytes]]:
        """The file's bytes from its start, decompressed."""
        with (
            self.reading(file.path),
            self._filesystem.open_input_stream(
                self._full(file.path), compression=file.compression, buffer_size=READ_BYTES
            ) as opened,
        ):
            yield opened

    @contextmanager
    def random_access(self, path: str) -> Iterator[Any]:
        """The file, to seek in: a pyarrow NativeFile."""
        with self.reading(path), self._filesystem.open_input_file(self._full(path)) as opened:
            yield opened

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Turns what pyarrow raises into errors that name the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._gone(path) from error
        except PermissionError as error:
            raise CorpusError(
                f"{self.name(path)}: not allowed to read it", "", "check its permissions"
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise BrokenFile(
                f"{self.name(path)}: {_first_line(error)}",
                "a whole, readable file of the format its name says",
                "fetch the file again, or leave it out with `include`",
            ) from error

    def name(self, path: str) -> str:
        """The file, for people."""
        if self.is_file:
            return self._place
        return f"{self._place.rstrip('/')}/{path}"

    def _full(self, path: str) -> str:
        if self.is_file:
            return self._root
        return f"{self._root.rstrip('/')}/{path}"

    @property
    def is_file(self) -> bool:
        """Whether it is one file, not a folder."""
        if self._holds_one is None:
            info = self._filesystem.get_file_info(self._root)
            self._holds_one = bool(info.type == pafs.FileType.File)
        return self._holds_one

    def _walk(self) -> Iterator[SourceFile]:
        # pyarrow's own recursion follows links in circles and stops at a name that is not UTF-8.
        for folder, _, names in os.walk(self._root):
            for name in names:
                full = os.path.join(folder, name)
                if os.path.isfile(full):
                    state = os.stat(full)
                    path = os.path.relpath(full, self._root)
                    yield _source(path, state.st_size, state.st_mtime_ns)

    def _select(self) -> Iterator[SourceFile]:
        for info in self._filesystem.get_file_info(pafs.FileSelector(self._root, recursive=True)):
            if info.type == pafs.FileType.File:
                path = info.path[len(self._root.rstrip("/")) + 1 :]
                yield _source(path, info.size, info.mtime_ns)

    def _none_found(self, patterns: tuple[str, ...]) -> list[SourceFile]:
        if self._pattern:
            raise CorpusNotFound(
                f"corpus {self.uri!r}: no file matches {' and '.join(patterns)}",
                "",
                "check the pattern; quote it in the shell",
            )
        return []

    def _hint(self) -> str:
        parent, name = os.path.split(self._root.rstrip("/"))
        names: list[str] = []
        if self._local and os.path.isdir(parent):
            names = difflib.get_close_matches(name, os.listdir(parent), n=3, cutoff=0.6)
        if not names:
            return "check `uri`; a relative path starts at the folder the command runs in"
        near = ", ".join(f"{os.path.join(parent, one)!r}" for one in names)
        return f"did you mean {near}?"

    def _gone(self, path: str) -> CorpusNotFound:
        return CorpusNotFound(
            f"{self.name(path)}: the file is not there",
            "the file as it was when the run was planned",
            "put it back, or plan again",
        )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> CorpusError:
        return CorpusError(
            f"corpus {self.uri!r}: {_first_line(error)}",
            "a place that can be listed",
            "check permissions, credentials and the network",
        )


def _shown(uri: str) -> str:
    """A URI without keys and options, which may be secret."""
    if not _URI.match(uri):
        return uri
    return re.sub(r"(?<=://)[^/@]*@", "", uri.partition("?")[0])


def _split_glob(uri: str) -> tuple[str, str]:
    """The folder before the first wildcard, and the pattern from there on."""
    scheme = _URI.match(uri)
    if not scheme and os.path.exists(os.path.expanduser(uri)):
        return uri, ""
    wild = _GLOB if scheme else re.compile(_GLOB.pattern[:-1] + "?]")
    first = wild.search(uri)
    if not first:
        return uri, ""
    cut = uri.rfind("/", 0, first.start()) + 1
    folder, pattern = uri[:cut], uri[cut:]
    if not scheme:
        return folder or ".", pattern
    pattern, question, options = pattern.partition("?")
    return folder.rstrip("/") + question + options, pattern


def _matches(path: str, pattern: str) -> bool:
    return bool(glob.globmatch(path, pattern, flags=_GLOB_FLAGS))


def _matches_any_depth(path: str, pattern: str) -> bool:
    return _matches(path if "/" in pattern else path.rsplit("/", 1)[-1], pattern)


def _visible(path: str) -> bool:
    return not any(part.startswith(".") for part in path.split("/"))


def _source(path: str, num_bytes: int, mtime_ns: int | None) -> SourceFile:
    return SourceFile(path, num_bytes, f"{num_bytes}-{mtime_ns or 0}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
