"""Who is at work on an index: one run that changes it, and the service of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from mrag_pipeline import wiring
from mrag_pipeline.config import Config


@contextmanager
def run_lock(config: Config, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the index for a run that changes it; a second run waits, or fails naming the owner.

    A lock file where staging is a disk, or else beside a local database; and, where the index is
    on a server, a lease there, which keeps the runs of several hosts apart too.
    Raises: IndexBusy, naming the owner; ConfigError if this user cannot write the index;
        StagingError, StorageFull, IndexUnavailable.
    """
    from mrag_pipeline.locking.file_lock import run_lock as file_lock

    until = time.monotonic() + wait_s
    held_in = wiring.store(config)
    held_in.check_writable()
    folder = _runs_folder(config)
    with ExitStack() as held:
        if folder is not None:
            held.enter_context(file_lock(folder, config.index, wait_s))
        if held_in.local_path() is None:
            from mrag_pipeline.locking.index_lease import index_lease

            left = max(0.0, until - time.monotonic())
            table = held.enter_context(held_in.lease_table())
            held.enter_context(index_lease(table, config.index, left))
        yield


@contextmanager
def announced_service(config: Config, url: str) -> Iterator[None]:
    """While the block runs, `running_service` of the same config gives the URL on this machine."""
    from mrag_pipeline.locking.service_file import announced

    folder = _runs_folder(config)
    with nullcontext() if folder is None else announced(folder, config.index, url):
        yield


def running_service(config: Config) -> str:
    """The URL of the service that runs on this machine for the config's index; empty if none."""
    from mrag_pipeline.locking.service_file import running_service

    folder = _runs_folder(config)
    return "" if folder is None else running_service(folder, config.index)


def _runs_folder(config: Config) -> Path | None:
    """Where runs and services of the index leave word on this machine; None if it has no disk."""
    from mrag_pipeline.locking.file_lock import lock_folder

    folder = lock_folder(config.staging)
    if folder is None and (database := wiring.store(config).local_path()) is not None:
        folder = database.with_name(f"{database.name}.runs")
    return folder


def local_folders(config: Config) -> dict[str, Path]:
    """The folders of index and staging, as far as they are on a disk of this machine."""
    from mrag_pipeline.locking.file_lock import lock_folder

    folders = {"index": wiring.store(config).local_path(), "staging": lock_folder(config.staging)}
    return {name: folder.absolute() for name, folder in folders.items() if folder is not None}
