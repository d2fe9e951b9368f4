"""Files below one place, on any pyarrow filesystem: listed, stamped, opened.

Knows nothing of what the files hold. Paths are relative to the place, with `/`. Local folders
and S3 buckets are listed in memory that does not grow with the number of files; pyarrow gives
the listings of other object stores whole.
"""

from __future__ import annotations

import difflib
import logging
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs
from wcmatch import glob

from mrag_pipeline.errors import BrokenFile, CorpusError, CorpusNotFound
from mrag_pipeline.filesystems.location import URI, open_place, shown
from mrag_pipeline.filesystems.s3_objects import StoredObject

log = logging.getLogger(__name__)

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
READ_BYTES = 1 << 20  # one read-ahead buffer

_GLOB = re.compile(r"[*\[{]")  # no "?": in a URI it starts the filesystem's options
_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.FORCEUNIX


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus."""

    path: str
    num_bytes: int
    stamp: str  # size and time of last change; in S3 size and ETag, which is of the content

    @property
    def compression(self) -> str | None:
        """The compression as pyarrow names it, by the file's name."""
        return COMPRESSIONS.get(posixpath.splitext(self.path)[1].lower())

    @property
    def suffix(self) -> str:
        """The lower-case suffix that tells the format: `.jsonl` of `a.jsonl.gz`."""
        path, suffix = posixpath.splitext(self.path)
        return posixpath.splitext(path)[1].lower() if self.compression else suffix.lower()


class Tree:
    """A file, a folder, or the files a glob names, as one listing."""

    def __init__(self, uri: str) -> None:
        self.uri = shown(uri)  # for people
        place, self._pattern = _split_glob(uri)
        self._at = open_place(place, f"corpus {self.uri!r}")
        self._filesystem = self._at.filesystem
        self._root = self._at.root
        self._place = shown(place)
        self._holds_one: bool | None = None
        self._is_in_order: bool | None = None  # whether an S3 server lists by the keys' bytes

    def __str__(self) -> str:
        return self.uri

    @property
    def names_files(self) -> bool:
        """Whether the URI says which files: by a whole name, or a pattern that ends in a suffix."""
        return "." in self._pattern.rpartition("/")[2] if self._pattern else self.is_file

    def files(self, include: tuple[str, ...] = ()) -> Iterator[SourceFile]:
        """The files, sorted by the bytes of their paths; hidden ones left out.

        Raises: CorpusNotFound; CorpusError when the filesystem does not answer.
        """
        listed = self._checked(include)
        if self._at.objects is not None and self._is_in_order is None and not self.is_file:
            for _ in self.survey(include):
                pass
        if self._at.is_local or self._is_in_order:
            yield from listed
            return
        if self._is_in_order is False:
            log.warning("listing_not_in_order corpus=%s: sorted in memory", self.uri)
        yield from sorted(listed, key=_order)

    def survey(self, include: tuple[str, ...] = ()) -> Iterator[SourceFile]:
        """The same files in any order, so that no server needs memory for them.

        Raises: as `files`.
        """
        in_order, before = True, b""
        for file in self._checked(include):
            path = _order(file)
            in_order, before = in_order and before <= path, path
            yield file
        self._is_in_order = in_order

    def find(self, path: str) -> SourceFile:
        """The file as it is now.

        Raises: CorpusNotFound if it is gone.
        """
        with self._answering():
            full = self._full(path)
            if self._at.is_local:
                try:
                    state = os.stat(full)
                except (FileNotFoundError, NotADirectoryError):
                    raise self._gone(path) from None
                return _source(path, state.st_size, state.st_mtime_ns)
            if self._at.objects is not None:
                found = self._at.objects.find(full.partition("/")[2])
                if found is None:
                    raise self._gone(path)
                return _object(path, found)
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
            why = self._at.failure(error)
            if why.is_store:
                found = f"{self.name(path)}: {why.found}"
                raise CorpusError(found, why.expected, why.fix) from error
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
            with self._answering():
                info = self._filesystem.get_file_info(self._root)
            self._holds_one = bool(info.type == pafs.FileType.File)
        return self._holds_one

    def _checked(self, include: tuple[str, ...]) -> Iterator[SourceFile]:
        """The files that are meant, as the filesystem lists them."""
        with self._answering():
            info = self._filesystem.get_file_info(self._root)
            if info.type == pafs.FileType.NotFound:
                self._check_bucket()
                raise CorpusNotFound(
                    f"corpus {self.uri!r}: no such file or folder", "", self._hint()
                )
            if info.type == pafs.FileType.File:
                self._holds_one = True
                yield self.find(os.path.basename(self._root))
                return
            is_empty = True
            for file in self._listed():
                if _visible(file.path) and self._is_meant(file.path, include):
                    is_empty = False
                    yield file
            if is_empty and self._pattern:
                patterns = (self._pattern, *include)
                raise CorpusNotFound(
                    f"corpus {self.uri!r}: no file matches {' and '.join(patterns)}",
                    "",
                    "check the pattern; quote it in the shell",
                )

    def _is_meant(self, path: str, include: tuple[str, ...]) -> bool:
        return (not self._pattern or _matches(path, self._pattern)) and (
            not include or any(_matches_any_depth(path, pattern) for pattern in include)
        )

    def _listed(self) -> Iterable[SourceFile]:
        if self._at.is_local:
            return _walk(self._root, "")
        return self._select() if self._at.objects is None else self._paged()

    def _paged(self) -> Iterator[SourceFile]:
        assert self._at.objects is not None
        folder = self._root.partition("/")[2].rstrip("/")
        folder = f"{folder}/" if folder else ""
        # What every match begins with, so that the server leaves the others out.
        begin = re.split(r"[*?[{\\]", self._pattern, maxsplit=1)[0]
        for one in self._at.objects.starting_with(folder + begin):
            yield _object(one.key[len(folder) :], one)

    def _select(self) -> Iterator[SourceFile]:
        for info in self._filesystem.get_file_info(pafs.FileSelector(self._root, recursive=True)):
            if info.type == pafs.FileType.File:
                path = info.path[len(self._root.rstrip("/")) + 1 :]
                yield _source(path, info.size, info.mtime_ns)

    def _check_bucket(self) -> None:
        # "Not there" is also what pyarrow says of all in a bucket that is not there.
        if self._at.objects is not None:
            next(self._at.objects.starting_with(self._root.partition("/")[2]), None)

    def _hint(self) -> str:
        parent, name = os.path.split(self._root.rstrip("/"))
        names: list[str] = []
        if self._at.is_local and os.path.isdir(parent):
            names = difflib.get_close_matches(name, os.listdir(parent), n=3, cutoff=0.6)
        if not self._at.is_local:
            return "check `uri`"
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
        why = self._at.failure(error)
        return CorpusError(
            f"corpus {self.uri!r}: {why.found}",
            why.expected or "a place that can be listed",
            why.fix or "check permissions, credentials and the network",
        )


def _walk(folder: str, path: str) -> Iterator[SourceFile]:
    """The folder's files, in the order of their paths; a link to a folder is passed over."""
    # pyarrow's own recursion follows links in circles and stops at a name that is not UTF-8.
    with os.scandir(folder) as entries:
        found = [(one.name, one.is_dir(follow_symlinks=False)) for one in entries]
    # As a path a folder's name goes on with a slash: `a.b` comes before `a/c`.
    for name, is_folder in sorted(
        (one for one in found if not one[0].startswith(".")),
        key=lambda one: os.fsencode(f"{one[0]}/" if one[1] else one[0]),
    ):
        full = os.path.join(folder, name)
        if is_folder:
            yield from _walk(full, f"{path}{name}/")
        elif os.path.isfile(full):
            state = os.stat(full)
            yield _source(f"{path}{name}", state.st_size, state.st_mtime_ns)


def _split_glob(uri: str) -> tuple[str, str]:
    """The folder before the first wildcard, and the pattern from there on."""
    scheme = URI.match(uri)
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


def _object(path: str, found: StoredObject) -> SourceFile:
    return SourceFile(path, found.num_bytes, f"{found.num_bytes}-{found.etag}")


def _order(file: SourceFile) -> bytes:
    return file.path.encode("utf-8", "surrogateescape")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
