"""A folder on any filesystem in which a file exists whole or not at all.

On a local disk, a file is written under a temporary name and renamed. An object store has no
rename, but shows an object only after its PUT, or the last request of its multipart upload, has
succeeded. So there the file is written directly, in one request if it is below 10 MB. Only the
object store's client retries a call. This module knows nothing of shards or Parquet.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from mrag_pipeline.errors import (
    ConfigError,
    PermanentError,
    StagingError,
    StorageFull,
    is_no_space,
)
from mrag_pipeline.filesystems.location import Place, open_place, shown

_NO_FOLDERS = ("s3", "gcs", "abfs")  # their keys need no parent folder
_RETRY = "check the permissions and the connection, then run the same command again"


class Folder:
    """Reads and writes whole files under one root."""

    def __init__(self, uri: str, *below: str) -> None:
        if not uri:
            raise ConfigError("staging.uri is empty", "a path or a URI", "set staging.uri")
        self._place = open_place(uri, f"staging.uri {shown(uri)!r}")
        self._fs = self._place.filesystem
        self.is_local = self._place.is_local
        self._root = "/".join([self._place.root.rstrip("/"), *below])
        self.store = _store(self._place, uri)  # only to be compared: it may hold options
        self.name = "/".join([shown(uri).rstrip("/"), *below])

    def path(self, name: str) -> str:
        """A file of the folder as its filesystem names it: an absolute path, or a bucket's key.

        Of an empty name, what all of them begin with.
        """
        whole = f"{self._root}/{name}"
        return whole if self.is_local else whole.partition("/")[2]

    def describe(self, path: str) -> str:
        """The file's URI without secrets, for messages."""
        return f"{self.name}/{path}"

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Stores the file whole, replacing an earlier one.

        On a local disk, the file survives a power cut.
        Raises: StorageFull; StagingError for any other reason.
        """
        with self._writing(path):
            if self.is_local:
                self._write_local(Path(self._root, path), content)
                return
            target = f"{self._root}/{path}"
            if self._fs.type_name not in _NO_FOLDERS:
                self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(target, compression=None) as stream:
                stream.write(content)  # in one call, so that an early end leaves no part

    def read(self, path: str) -> pa.Buffer | None:
        """The file's content, None if there is none.

        Raises: StagingError.
        """
        try:
            with self._fs.open_input_file(f"{self._root}/{path}") as stream:
                return stream.read_buffer()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed("read", path, error) from error

    def open(self, path: str) -> pa.NativeFile:
        """The file, to read a part of it.

        Raises: OSError, also if there is none.
        """
        return self._fs.open_input_file(f"{self._root}/{path}")

    def remove(self, path: str) -> None:
        """Removes a file, or a folder and everything in it, if it exists.

        Raises: StagingError.
        """
        target = f"{self._root}/{path}" if path else self._root
        try:
            if self._place.objects is not None:
                self._place.objects.remove(target.partition("/")[2])
                return
            kind = self._fs.get_file_info(target).type
            if kind == fs.FileType.Directory:
                self._fs.delete_dir(target)
            elif kind == fs.FileType.File:
                self._fs.delete_file(target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("remove", path, error) from error

    def sizes(self, path: str) -> dict[str, int]:
        """The size in bytes of every file below `path`, by its name relative to `path`.

        Raises: StagingError.
        """
        return {name: num_bytes for name, num_bytes, _ in self._files(path)}

    def modified(self, path: str) -> dict[str, float]:
        """The modification time in seconds of every file below `path`, by its relative name.

        Raises: StagingError.
        """
        return {name: modified_s for name, _, modified_s in self._files(path)}

    def _files(self, path: str) -> Iterator[tuple[str, int, float]]:
        """Relative name, size in bytes and modification time of every file below `path`."""
        base = f"{self._root}/{path}".rstrip("/")
        try:
            if self._place.objects is not None:
                key = base.partition("/")[2]
                below = f"{key}/" if key else ""
                for stored in self._place.objects.starting_with(below):
                    yield stored.key[len(below) :], stored.num_bytes, stored.modified_s
                return
            selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
            prefix = len(base.lstrip("/")) + 1
            for info in self._fs.get_file_info(selector):
                if info.type == fs.FileType.File:
                    name = info.path.lstrip("/")[prefix:]
                    yield name, info.size, (info.mtime_ns or 0) / 1e9
        except OSError as error:
            raise self._failed("list", path, error) from error

    def sweep(self, path: str) -> None:
        """Removes temporary files in `path` that ended processes of this machine left behind."""
        if not self.is_local:
            return
        for leftover in Path(self._root, path).rglob(f".*.{_HOST}.*.tmp"):
            pid = int(leftover.name.split(".")[-3])
            if not _alive(pid):
                leftover.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """Free space on a local disk; None for any other filesystem."""
        if not self.is_local:
            return None
        existing = Path(self._root)
        while not existing.exists():
            existing = existing.parent
        return shutil.disk_usage(existing).free

    def _write_local(self, target: Path, content: bytes | pa.Buffer) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Named after its writer: writers never share a file, and a dead writer's is recognised.
        tag = f"{_HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        temporary = target.with_name(f".{target.name}.{tag}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                # After a power cut, no receipt may name a file that was lost.
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except PermanentError:
            raise
        except OSError as error:
            if is_no_space(error) or self._place.failure(error).is_full:
                free = self.free_bytes()
                free_note = "" if free is None else f" ({free / 1e6:,.1f} MB free)"
                raise StorageFull(
                    f"no space left to write {self.describe(path)}{free_note}",
                    "room for the staged vectors: `mrag plan` says how much",
                    "free space there or change staging.uri, then run the same command again: "
                    "finished shards are kept",
                ) from error
            raise self._failed("write", path, error) from error

    def _failed(self, doing: str, path: str, error: OSError) -> StagingError:
        if "is a directory" in str(error).lower():
            return StagingError(
                f"{self.describe(path)} is a folder",
                "a file",
                "move the folder away, then run the same command again",
            )
        failure = self._place.failure(error)
        found = f"cannot {doing} {self.describe(path)}: {failure.found}"
        return StagingError(found, failure.expected, failure.fix or _RETRY)


def _store(place: Place, uri: str) -> str:
    """The same for all folders of a bucket; "" on a disk."""
    if place.is_local:
        return ""
    if place.bucket:
        return f"{place.server}, bucket {place.bucket}"
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}?{parts.query}"


_HOST = socket.gethostname().replace(".", "-").replace("/", "-")


def _sync_folder(folder: Path) -> None:
    # The rename is stored in the folder's own block.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
