"""Searches a Milvus Lite database in a folder that this user cannot write.

Lite opens a lock file and makes folders even to read. So it is given a folder of links to the
database's files; what changes an index is refused. The database's own lock is held shared: several
readers at a time, and no writer meanwhile.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from pymilvus import MilvusClient

from mrag_pipeline import environment
from mrag_pipeline.errors import ConfigError, IndexBusy
from mrag_pipeline.index.milvus.lite_leftovers import leftovers

_LOCK = "LOCK"
_CHANGES = (
    "insert",
    "upsert",
    "delete",
    "create_collection",
    "drop_collection",
    "create_index",
    "create_alias",
    "alter_alias",
    "drop_alias",
    "flush",
)


def is_read_only(path: Path) -> bool:
    """Whether the database is there, and this user cannot write it."""
    if not path.is_dir():
        return False
    lock = path / _LOCK
    return not environment.is_writable(path) or (
        lock.exists() and not environment.is_writable(lock)
    )


def refusal(path: Path) -> ConfigError:
    """What a change of such a database is answered with."""
    return ConfigError(
        f"{path} cannot be written by this user (uid {os.getuid()}): it can be searched only",
        "a folder that can be written, to change the index",
        f"run the command as its owner, or give this user the right (`ls -ld {path}`)",
    )


class ReadOnlyClient(MilvusClient):  # type: ignore[misc]  # pymilvus ships no types
    """A client of links to the database; every change raises ConfigError."""

    def __init__(self, path: Path, links: Path) -> None:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise refusal(path)

        super().__init__(str(links))
        for name in _CHANGES:
            setattr(self, name, refuse)


class LinkedDatabase:
    """A temporary folder of links to the database's files; close it."""

    def __init__(self, path: Path) -> None:
        """Locked against writers.

        Raises: IndexBusy if a process has it open to write; ConfigError if it cannot be read.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="mrag-index-")) / path.name
        self._lock: int | None = None
        try:
            self._lock = _shared_lock(path)
            _link(path, self.folder)
        except OSError as error:
            self.close()
            raise ConfigError(
                f"cannot read {path}: {error}",
                "a folder of Milvus Lite that this user can read",
                f"run the command as its owner, or give this user the right (`ls -ld {path}`)",
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the links and releases the lock; a second call does nothing."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _shared_lock(path: Path) -> int | None:
    import fcntl

    if not (path / _LOCK).exists():
        return None
    lock = os.open(path / _LOCK, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise IndexBusy(
            f"{path} is open in another process, which may write it",
            "no writer while this user reads it: Milvus Lite allows no more",
            "wait for the other process to end; or serve several with `milvus-lite server`",
        ) from None
    return lock


def _link(path: Path, links: Path) -> None:
    links.mkdir()
    left_over = set(leftovers(path))
    for folder, folders, files in os.walk(path, onerror=_raise):
        place = links / Path(folder).relative_to(path)
        for name in folders:
            (place / name).mkdir()
        for name in files:
            file = Path(folder) / name
            if file in left_over or file == path / _LOCK:
                continue
            if not os.access(file, os.R_OK):
                raise PermissionError(13, "Permission denied", str(file))
            (place / name).symlink_to(file)


def _raise(error: OSError) -> NoReturn:
    raise error
