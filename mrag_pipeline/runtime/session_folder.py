"""The folder that a local Ray writes its logs and sockets to: removed when that Ray has ended.

Ray leaves it, some megabytes for each run. Only folders that a process of ours has marked are
removed, and only when that process is gone: it holds a lock on its mark, which the kernel takes
back. Those of `ray start`, of other programs and of other users stay.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

MARK = "mrag-owner"
# That a folder stays which was left by a process that was killed, or whose Ray broke: for its logs.
KEPT_S = 24 * 3600.0
_held: dict[Path, IO[str]] = {}  # the marks of this process, open and locked


def mark(folder: Path) -> None:
    """Says that the folder is of this process's Ray, for as long as the process lives."""
    with suppress(OSError):
        file = (folder / MARK).open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        _held[folder] = file


def remove(folder: Path) -> None:
    """Removes a marked folder of this user's; the mark last, so that what stays is found again."""
    if not _is_ours(folder):
        return
    for entry in folder.iterdir():
        if entry.name == MARK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    with suppress(OSError):
        if [entry.name for entry in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
            folder.rmdir()
    if folder in _held:
        _held.pop(folder).close()
    latest = folder.parent / "session_latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)


def remove_ended(place: Path, kept_s: float = KEPT_S) -> list[str]:
    """Removes the marked folders of processes that have ended long ago; returns their names.

    Args:
        kept_s: since the last line of a log; a younger folder stays.
    """
    removed = []
    for folder in sorted(place.glob("session_*")):
        with suppress(OSError):
            if folder.is_symlink() or not _is_ours(folder):
                continue
            age_s = time.time() - _last_written(folder)
            if age_s < kept_s:
                continue
            with _left(folder / MARK) as is_left:
                if is_left:
                    remove(folder)
                    removed.append(folder.name)
    return removed


def _last_written(folder: Path) -> float:
    """When its mark or one of its logs was last written."""
    files = [folder / MARK, *(folder / "logs").glob("*")]
    return max(file.lstat().st_mtime for file in files)


@contextmanager
def _left(file: Path) -> Iterator[bool]:
    """Whether nobody holds the mark; nobody else finds that out within the block."""
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _is_ours(folder: Path) -> bool:
    """Whether the folder is marked, and both it and the mark belong to this user."""
    try:
        return {folder.lstat().st_uid, (folder / MARK).lstat().st_uid} == {os.getuid()}
    except OSError:
        return False
