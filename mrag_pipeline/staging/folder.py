"""A folder on any filesystem in which a file is there whole or not at all.

On a local disk a file is written under another name and renamed. Object stores show an
object only once its PUT has succeeded, so there the name is written directly. Knows nothing
of shards or Parquet.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from mrag_pipeline.errors import ConfigError, PermanentError, StagingError, StorageFull

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDERS = ("s3", "gcs", "abfs")  # a key needs no parent there


class Folder:
    """Reads and writes whole files under one root."""

    def __init__(self, uri: str, *below: str) -> None:
        self._fs, root = _open(uri)
        self._local = isinstance(self._fs, fs.LocalFileSystem)
        self._root = "/".join([root.rstrip("/"), *below])
        self.name = "/".join([uri.rstrip("/"), *below])

    def path(self) -> str:
        """As its own filesystem names it: an absolute path, or a key within its bucket."""
        return self._root if self._local else self._root.partition("/")[2]

    def describe(self, path: str) -> str:
        """The file as people would look for it."""
        return f"{self.name}/{path}"

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Stores the file whole, replacing an earlier one.

        On a local disk it outlives a power cut.
        Raises: StorageFull; StagingError if it cannot be written for another reason.
        """
        with self._writing(path):
            if self._local:
                self._write_local(Path(self._root, path), content)
                return
            target = f"{self._root}/{path}"
            if self._fs.type_name not in _NO_FOLDERS:
                self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)

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
            raise StagingError(
                f"cannot read {self.describe(path)}: {error}",
                fix="check the permissions and the connection, then run the same command again",
            ) from error

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all in it, if it is there.

        Raises: StagingError.
        """
        target = f"{self._root}/{path}" if path else self._root
        try:
            kind = self._fs.get_file_info(target).type
            if kind == fs.FileType.Directory:
                self._fs.delete_dir(target)
            elif kind == fs.FileType.File:
                self._fs.delete_file(target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StagingError(
                f"cannot remove {self.describe(path)}: {error}",
                fix="check the permissions, then run the same command again",
            ) from error

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of every file below `path`, by its name relative to it; empty if none is there.

        Raises: StagingError.
        """
        return {name: info.size for name, info in self._files(path).items()}

    def modified(self, path: str) -> dict[str, float]:
        """When every file below `path` was written last, in seconds, by its relative name.

        Raises: StagingError.
        """
        return {name: (info.mtime_ns or 0) / 1e9 for name, info in self._files(path).items()}

    def _files(self, path: str) -> dict[str, fs.FileInfo]:
        base = f"{self._root}/{path}".rstrip("/")
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        try:
            infos = self._fs.get_file_info(selector)
        except OSError as error:
            raise StagingError(
                f"cannot list {self.describe(path)}: {error}",
                fix="check the permissions and the connection, then run the same command again",
            ) from error
        prefix = len(base.lstrip("/")) + 1
        return {
            info.path.lstrip("/")[prefix:]: info for info in infos if info.type == fs.FileType.File
        }

    def sweep(self, path: str) -> None:
        """Removes what processes of this machine that are gone left half written in `path`."""
        if not self._local:
            return
        for leftover in Path(self._root, path).rglob(f".*.{_HOST}.*.tmp"):
            pid = int(leftover.name.split(".")[-3])
            if not _alive(pid):
                leftover.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """Free space on a local disk, None where there is no such thing."""
        if not self._local:
            return None
        existing = Path(self._root)
        while not existing.exists():
            existing = existing.parent
        return shutil.disk_usage(existing).free

    def _write_local(self, target: Path, content: bytes | pa.Buffer) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Named for its writer: two of them never share one, and a dead one's can be told.
        tag = f"{_HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        temporary = target.with_name(f".{target.name}.{tag}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                # A receipt that outlives a power cut must not speak of files that did not.
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
            if error.errno in _NO_SPACE:
                free = self.free_bytes()
                left = "" if free is None else f" ({free / 1e6:,.1f} MB free)"
                raise StorageFull(
                    f"no space left to write {self.describe(path)}{left}",
                    "room for the staged vectors: `mrag plan` says how much",
                    "free space there or point staging.uri elsewhere, then run the same "
                    "command again: finished shards are kept",
                ) from error
            raise StagingError(
                f"cannot write {self.describe(path)}: {error}",
                fix="check that the folder can be written, or point staging.uri elsewhere",
            ) from error


_HOST = socket.gethostname().replace(".", "-").replace("/", "-")


def _open(uri: str) -> tuple[fs.FileSystem, str]:
    if not uri:
        raise ConfigError("staging.uri is empty", "a path or a URI", "set staging.uri")
    try:
        if "://" not in uri:
            return fs.LocalFileSystem(), os.path.abspath(Path(uri).expanduser())
        filesystem, root = fs.FileSystem.from_uri(uri)
        return filesystem, root
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(
            f"staging.uri {uri!r}: {error}",
            "a path, or a URI such as file:///data/staging, s3://bucket/staging, gs://bucket/x",
            "change staging.uri in the config file",
        ) from error


def _sync_folder(folder: Path) -> None:
    # The rename itself is in the folder's own block.
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
