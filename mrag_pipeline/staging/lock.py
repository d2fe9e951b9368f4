"""One run at a time on one index: a lock file that the system lets go of when its owner dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.staging.spec import StagingSpec


@contextmanager
def run_lock(spec: StagingSpec, index: str) -> Iterator[None]:
    """Held while the block runs. Only for local staging: an object store has no such lock.

    Raises: IndexBusy, naming the owner's process, host and start.
    """
    parts = urlsplit(spec.uri)
    if parts.scheme not in ("", "file"):
        yield
        return
    folder = Path(parts.path or spec.uri) / index
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "run.owner.json"
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IndexBusy(
            f"another run is at work on index {index!r}: {_told(owner)}",
            "one run on an index at a time",
            "wait for it, or end it; what it has staged is reused",
        ) from None
    try:
        owner.write_text(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            ),
            "utf-8",
        )
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _told(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text("utf-8"))
    except (OSError, ValueError):
        return "its owner left no name"
    return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
