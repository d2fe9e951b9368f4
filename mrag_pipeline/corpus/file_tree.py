"""Lists and opens the files of a corpus, on any pyarrow filesystem, or one file of the web.

Knows nothing of what the files hold. Paths are relative to the corpus's folder, with `/`. Local
folders and S3 buckets are listed in memory that does not grow with the number of files; pyarrow
returns the listings of other object stores whole.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow.fs as pafs

from mrag_pipeline.corpus.file_pattern import (
    is_visible,
    literal_prefix,
    matches,
    matches_at_any_depth,
    split_glob,
)
from mrag_pipeline.corpus.source_file import SourceFile, file_in_s3, file_on_disk, local_files
from mrag_pipeline.errors import BrokenFile, CorpusError, CorpusNotFound, first_line
from mrag_pipeline.filesystems.hub_files import HUB, HubPlace, open_hub
from mrag_pipeline.filesystems.location import Place, open_place, shown
from mrag_pipeline.filesystems.web_file import WEB, WebFile

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20  # one read-ahead buffer


class FileTree:
    """The files that a URI names: one file, a folder's, or those a glob matches."""

    def __init__(self, uri: str, exclude: tuple[str, ...] = (), follow_links: bool = False) -> None:
        self._exclude = exclude
        self._follow_links = follow_links
        self.uri = shown(uri)  # for people
        what = f"corpus {self.uri!r}"
        self._web = WebFile(uri, what) if WEB.match(uri) else None
        folder, self._pattern = (uri, "") if self._web else split_glob(uri)
        self._place = self._opened(folder, what)
        self._filesystem = self._place.filesystem
        self._root = self._place.root
        self._folder_name = shown(folder)
        self._is_file: bool | None = True if self._web else None
        self._is_in_order: bool | None = None  # whether an S3 server lists by the keys' bytes

    def _opened(self, folder: str, what: str) -> Place | HubPlace:
        if self._web:
            return Place(pafs.LocalFileSystem(), "")
        return open_hub(folder, what) if folder.startswith(HUB) else open_place(folder, what)

    def __str__(self) -> str:
        return self.uri

    @property
    def names_files(self) -> bool:
        """Whether the URI selects files by name: one file, or a pattern that ends in a suffix."""
        return "." in self._pattern.rpartition("/")[2] if self._pattern else self.is_file

    def files(self, include: tuple[str, ...] = ()) -> Iterator[SourceFile]:
        """The files, sorted by the bytes of their paths, without hidden ones.

        Raises: CorpusNotFound; CorpusError when the filesystem does not answer.
        """
        listed = self._checked(include)
        if self._place.objects is not None and self._is_in_order is None and not self.is_file:
            for _ in self.survey(include):
                pass
        if self._place.is_local or self._is_in_order:
            yield from listed
            return
        if self._is_in_order is False:
            log.warning("listing_not_in_order corpus=%s: sorted in memory", self.uri)
        yield from sorted(listed, key=lambda file: file.path_bytes)

    def survey(self, include: tuple[str, ...] = ()) -> Iterator[SourceFile]:
        """The same files in any order, in memory that does not grow with their number.

        Raises: as `files`.
        """
        is_in_order, previous = True, b""
        for file in self._checked(include):
            path = file.path_bytes
            is_in_order, previous = is_in_order and previous <= path, path
            yield file
        self._is_in_order = is_in_order

    def find(self, path: str) -> SourceFile:
        """The file as it is now.

        Raises: CorpusNotFound if it is gone.
        """
        if self._web is not None:
            fetched = self._web.fetched()
            return SourceFile(path, fetched.num_bytes, fetched.digest, fetched.digest)
        with self._answering():
            full = self._full(path)
            if self._place.is_local:
                try:
                    state = os.stat(full)
                except (FileNotFoundError, NotADirectoryError):
                    raise self._gone(path) from None
                return file_on_disk(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            if self._place.objects is not None:
                stored = self._place.objects.find(full.partition("/")[2])
                if stored is None:
                    raise self._gone(path)
                return file_in_s3(path, stored)
            info = self._filesystem.get_file_info(full)
            if info.type != pafs.FileType.File:
                raise self._gone(path)
            return file_on_disk(path, info.size, info.mtime_ns)

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
        """The file opened for seeking: a pyarrow NativeFile."""
        with self.reading(path), self._filesystem.open_input_file(self._full(path)) as opened:
            yield opened

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Turns pyarrow's errors into errors that name the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._gone(path) from error
        except PermissionError as error:
            raise BrokenFile(
                f"{self.name(path)}: permission denied",
                "a file that can be read",
                "check its permissions",
            ) from error
        except self._place.errors as error:
            failure = self._place.failure(error)
            if failure.is_store:
                message = f"{self.name(path)}: {failure.found}"
                raise CorpusError(message, failure.expected, failure.fix) from error
            raise BrokenFile(
                f"{self.name(path)}: {first_line(error)}",
                "a complete file of the format that its name implies",
                "download the file again, or exclude it with `include`",
            ) from error

    def name(self, path: str) -> str:
        """The file as messages name it."""
        if self.is_file:
            return self._folder_name
        return f"{self._folder_name.rstrip('/')}/{path}"

    def _full(self, path: str) -> str:
        if self._web is not None:
            return self._web.fetched().path
        if self.is_file:
            return self._root
        return f"{self._root.rstrip('/')}/{path}"

    @property
    def is_file(self) -> bool:
        """Whether it is one file, not a folder."""
        if self._is_file is None:
            with self._answering():
                info = self._filesystem.get_file_info(self._root)
            self._is_file = bool(info.type == pafs.FileType.File)
        return self._is_file

    def _checked(self, include: tuple[str, ...]) -> Iterator[SourceFile]:
        """The selected files, in the filesystem's own order."""
        if self._web is not None:
            yield self.find(self._web.name)
            return
        with self._answering():
            info = self._filesystem.get_file_info(self._root)
            if info.type == pafs.FileType.NotFound:
                self._check_bucket()
                raise CorpusNotFound(
                    f"corpus {self.uri!r}: no such file or folder", "", self._hint()
                )
            if info.type == pafs.FileType.Unknown:
                raise CorpusError(
                    f"corpus {self.uri!r}: a pipe, socket or device",
                    "a file or folder: a corpus is read more than once",
                    "write what it gives to a file first",
                )
            if info.type == pafs.FileType.File:
                self._is_file = True
                yield self.find(os.path.basename(self._root))
                return
            is_empty = True
            for file in self._listed():
                if is_visible(file.path) and self.selects(file.path, include):
                    is_empty = False
                    yield file
            if is_empty and self._pattern:
                patterns = (self._pattern, *include)
                raise CorpusNotFound(
                    f"corpus {self.uri!r}: no file matches {' and '.join(patterns)}",
                    "",
                    "check the pattern; quote it in the shell",
                )

    def selects(self, path: str, include: tuple[str, ...]) -> bool:
        """Whether the URI's pattern, `include` and `exclude` choose a file."""
        return (
            (not self._pattern or matches(path, self._pattern))
            and (not include or any(matches_at_any_depth(path, one) for one in include))
            and not any(matches_at_any_depth(path, pattern) for pattern in self._exclude)
        )

    def _listed(self) -> Iterable[SourceFile]:
        if self._place.is_local:
            within = "" if self._follow_links else os.path.realpath(self._root)
            return local_files(self._root, within)
        return self._listed_whole() if self._place.objects is None else self._listed_by_page()

    def _listed_by_page(self) -> Iterator[SourceFile]:
        assert self._place.objects is not None
        folder = self._root.partition("/")[2].rstrip("/")
        folder = f"{folder}/" if folder else ""
        prefix = folder + literal_prefix(self._pattern)
        for stored in self._place.objects.starting_with(prefix):
            yield file_in_s3(stored.key[len(folder) :], stored)

    def _listed_whole(self) -> Iterator[SourceFile]:
        for info in self._filesystem.get_file_info(pafs.FileSelector(self._root, recursive=True)):
            if info.type == pafs.FileType.File:
                path = info.path[len(self._root.rstrip("/")) + 1 :]
                yield file_on_disk(path, info.size, info.mtime_ns)

    def _check_bucket(self) -> None:
        # pyarrow also reports "not found" for every path of a bucket that does not exist.
        if self._place.objects is not None:
            next(self._place.objects.starting_with(self._root.partition("/")[2]), None)

    def _hint(self) -> str:
        parent, name = os.path.split(self._root.rstrip("/"))
        names: list[str] = []
        if self._place.is_local and os.path.isdir(parent):
            names = difflib.get_close_matches(name, os.listdir(parent), n=3, cutoff=0.6)
        if not self._place.is_local:
            return "check `uri`"
        if not names:
            return "check `uri`; a relative path starts at the folder the command runs in"
        near = ", ".join(f"{os.path.join(parent, name)!r}" for name in names)
        return f"did you mean {near}?"

    def _gone(self, path: str) -> CorpusNotFound:
        return CorpusNotFound(
            f"{self.name(path)}: the file no longer exists",
            "the file as it was when the run was planned",
            "restore it, or run the command again to plan a new version",
        )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except self._place.errors as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> CorpusError:
        failure = self._place.failure(error)
        return CorpusError(
            f"corpus {self.uri!r}: {failure.found}",
            failure.expected or "a file or folder that can be read",
            failure.fix or "check permissions, credentials and the network",
        )
