"""One run at a time on one index: a lock file that the system lets go of when its owner dies.

The name and the start of the owner stand beside it, for whoever waits or is refused. A file with
a name and no lock is what a killed run left: it stops nobody. An object store has no such lock;
there the work pool's concurrency limit of 1 is what keeps runs apart (docs/operations.md).
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from mrag_pipeline.errors import IndexBusy, StagingError
from mrag_pipeline.staging.spec import StagingSpec

log = logging.getLogger(__name__)

_POLL_S = 0.5


@contextmanager
def run_lock(spec: StagingSpec, index: str, wait_s: float = 0.0) -> Iterator[None]:
    """Held while the block runs. Only for local staging: an object store has no such lock.

    Args:
        wait_s: seconds to wait for another run to end; 0: refused at once.
    Raises: IndexBusy, naming the owner's process, host, start and age; StagingError if the
        folder cannot be written.
    """
    parts = urlsplit(spec.uri)
    if parts.scheme not in ("", "file"):
        yield
        return
    folder = Path(parts.path or spec.uri) / index
    owner = folder / "run.owner.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "run.lock")
        lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
    except Timeout:
        waited = f", and was so for the {wait_s:g} s that this one waited" if wait_s else ""
        raise IndexBusy(
            f"another run is at work on index {index!r}: {_told(owner)}{waited}",
            "one run on an index at a time",
            "wait for it, or end it; what it has staged is reused",
        ) from None
    except OSError as error:
        raise StagingError(
            f"cannot write to the staging folder {folder}: {error}",
            "a folder that can be written",
            "check its permissions, or point staging.uri elsewhere",
        ) from error
    try:
        if owner.exists():
            log.info("stale_lock index=%s owner=%s", index, _told(owner))
        _sign(owner)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _sign(owner: Path) -> None:
    facts = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        owner.write_text(json.dumps(facts), "utf-8")
    except OSError as error:  # a full disk: the lock itself is held all the same
        log.warning("owner_not_written error=%s", error)


def _told(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text("utf-8"))
        since = datetime.fromisoformat(facts["since"])
        age = max(0, round((datetime.now(UTC) - since).total_seconds()))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']} ({age} s ago)"
    except (OSError, ValueError, KeyError, TypeError):
        return "its owner left no name"
