"""One run at a time on one index: a lock file that the system releases when its owner dies.

The owner's name and start are in a file beside it, for error messages. That file without a lock was
left by a killed run and blocks nothing. The lock keeps runs on one disk apart; runs of several
hosts, or with staging in an object store, use a lease in the index (locking/index_lease.py).
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from mrag_pipeline.environment import is_writable
from mrag_pipeline.errors import IndexBusy, MragError, StagingError, StorageFull, is_no_space
from mrag_pipeline.locking.owner import Owner
from mrag_pipeline.settings.staging import StagingSpec

log = logging.getLogger(__name__)

_POLL_S = 0.5


def lock_folder(spec: StagingSpec) -> Path | None:
    """Where staging is, if that is a disk of this machine; None for an object store."""
    parts = urlsplit(spec.uri)
    return Path(parts.path or spec.uri) if parts.scheme in ("", "file") else None


@contextmanager
def run_lock(root: Path, index: str, wait_s: float = 0.0) -> Iterator[None]:
    """Held while the block runs.

    Args:
        root: on a local disk; the lock is in its subfolder named like the index.
        wait_s: seconds to wait for another run to end; 0: raises at once.
    Raises: IndexBusy, naming the owner's process, host, start and age; StagingError if the
        folder cannot be written; StorageFull.
    """
    folder = root / index
    owner = folder / "run.owner.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_writable(folder):  # an earlier run's lock file may be writable all the same
            raise _unwritable(folder)
        lock = FileLock(folder / "run.lock")
        lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
    except Timeout:
        waited = f", and was so for the {wait_s:g} s that this one waited" if wait_s else ""
        raise IndexBusy(
            f"another run is at work on index {index!r}: {_told(owner)}{waited}",
            "one run on an index at a time",
            "wait for it, or end it; what it has staged is reused",
        ) from None
    except (OSError, NotImplementedError) as error:
        raise _unlockable(folder, error) from error
    try:
        _sign(owner, index)
        yield
    finally:
        _unsign(owner)
        lock.release()


def _unwritable(folder: Path) -> OSError:
    """The error of a write there: of a disk that is mounted read-only, or of permissions."""
    is_read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    code = errno.EROFS if is_read_only else errno.EACCES
    return OSError(code, os.strerror(code), str(folder))


def _unlockable(folder: Path, error: Exception) -> MragError:
    if is_no_space(error):
        return StorageFull(
            f"no space left to write {folder}",
            "room for a lock file, and for what is staged",
            "free space there, then run the same command again: finished shards are kept",
        )
    return StagingError(
        f"cannot write to the staging folder {folder}: {error}",
        "a folder that can be written and locked",
        "check its permissions and how it is mounted, or point staging.uri elsewhere",
    )


def _sign(owner: Path, index: str) -> None:
    try:
        if owner.exists():
            log.info("stale_lock index=%s owner=%s", index, _told(owner))
        owner.write_text(json.dumps(Owner.here().facts()), "utf-8")
    except OSError as error:  # a full disk: the lock itself is held all the same
        log.warning("owner_not_written error=%s", error)


def _unsign(owner: Path) -> None:
    try:
        owner.unlink(missing_ok=True)
    except OSError as error:  # mounted read-only meanwhile; a name without a lock stops nobody
        log.warning("owner_not_removed error=%s", error)


def _told(owner: Path) -> str:
    try:
        return Owner.of(json.loads(owner.read_text("utf-8"))).told()
    except (OSError, ValueError, KeyError, TypeError):
        return "its owner left no name"
