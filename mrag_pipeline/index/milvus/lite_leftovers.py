"""Files that a killed process left in a Milvus Lite database, and that Lite would stumble over.

They are removed before Lite opens the database; everything that they hold is in data files.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrag_pipeline.index.milvus.lite_index_files import cut_index_files
from mrag_pipeline.index.milvus.lite_logs import flushed_logs

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)


def leftovers(path: Path) -> list[Path]:
    """Logs that are stored, and index files that are cut short.

    Raises: OSError.
    """
    return [*flushed_logs(path), *cut_index_files(path)]


def remove_leftovers(path: Path) -> None:
    """Removes them, unless a process has the database open.

    Raises: OSError.
    """
    with _unless_open(path) as is_free:
        for file in leftovers(path) if is_free else ():
            log.warning("leftover_removed file=%s", file)
            file.unlink()


@contextmanager
def _unless_open(path: Path) -> Iterator[bool]:
    """Holds Lite's lock of the database within the block; gives False if a process has it open."""
    if sys.platform == "win32" or not (path / "LOCK").exists():
        yield False
        return
    with (path / "LOCK").open("r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True  # closing it lets it go
