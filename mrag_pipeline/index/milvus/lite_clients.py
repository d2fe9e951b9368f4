"""A process's clients of Milvus Lite databases: opens them, and gives a lock up with the last.

Lite only logs why a database did not open; here the reason becomes an error that says what to do.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.errors import (
    ConfigError,
    IndexBusy,
    IndexUnavailable,
    MragError,
    StorageFull,
    is_no_space,
)
from mrag_pipeline.index.milvus.lite_leftovers import remove_leftovers
from mrag_pipeline.index.milvus.read_only import LinkedDatabase, ReadOnlyClient, is_read_only

# Counts the clients of each database: the last one to close releases its lock.
_num_clients: dict[str, int] = {}
_linked: dict[str, LinkedDatabase] = {}  # those that this user can only read
_open_lock = threading.Lock()


def open_lite(path: Path) -> MilvusClient:
    """A client that has opened the database.

    Raises: ConfigError, IndexBusy, IndexUnavailable, StorageFull.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot create {path.parent}: {error}",
            "a writable folder",
            "change milvus.uri in the config file",
        ) from error
    with _open_lock:
        cause = _Cause()
        logger = logging.getLogger("milvus_lite.server_manager")
        logger.addHandler(cause)
        logger.setLevel(logging.ERROR)
        propagates, logger.propagate = logger.propagate, False
        try:
            client = _lite_client(path)
        except MilvusException as error:
            raise _lite_error(path, cause.error) from error
        finally:
            logger.removeHandler(cause)
            logger.propagate = propagates
        _num_clients[str(path)] = _num_clients.get(str(path), 0) + 1
        return client


def closed_lite(path: Path) -> None:
    """A client of the database was closed: the last one releases its lock."""
    from milvus_lite.server_manager import server_manager_instance

    with _open_lock:
        _num_clients[str(path)] -= 1
        if _num_clients[str(path)] == 0:
            del _num_clients[str(path)]
            linked = _linked.pop(str(path), None)
            server_manager_instance.release_server(str(linked.folder if linked else path))
            if linked is not None:
                linked.close()


def _lite_client(path: Path) -> MilvusClient:
    if not is_read_only(path):
        try:
            remove_leftovers(path)
        except OSError as error:
            raise _lite_error(path, error) from error
        return MilvusClient(str(path))
    linked = _linked.get(str(path)) or LinkedDatabase(path)
    try:
        client = ReadOnlyClient(path, linked.folder)
    except BaseException:
        if str(path) not in _linked:
            linked.close()
        raise
    _linked[str(path)] = linked
    return client


def _lite_error(path: Path, cause: BaseException | None) -> MragError:
    """What to do about a database that did not open.

    Args:
        cause: what Lite stumbled over; None if it runs and could not be reached.
    """
    if cause is None:
        return IndexUnavailable(
            f"Milvus Lite has opened {path}, but does not answer in this process",
            "connections to 127.0.0.1 within this machine",
            "check for a firewall on loopback, and for a machine that is out of memory or "
            "threads; the database itself was not found to be damaged",
        )
    if type(cause).__name__ == "DataDirLockedError":
        return IndexBusy(
            f"{path} is open in another process",
            "one owner at a time: Milvus Lite allows no more",
            "wait for the other `mrag` to end; or serve several with `milvus-lite server "
            f"--data-dir {path} --host 127.0.0.1 --port 19530` and set milvus.uri to "
            "http://127.0.0.1:19530",
        )
    if isinstance(cause, OSError):
        if is_no_space(cause):
            return StorageFull(f"cannot open {path}: {cause}", "room for the index", "free space")
        return ConfigError(
            f"cannot open {path}: {cause}",
            "a folder that this user can read and write",
            "correct what the message names, or point milvus.uri elsewhere; the database itself "
            "was not found to be damaged",
        )
    return ConfigError(
        f"cannot open {path}: {cause}",
        "a readable and writable folder of Milvus Lite 3",
        "move it away and run `mrag ingest`: with the corpus as it was at the version's ingest, it "
        "loads the staged vectors without embedding again",
    )


class _Cause(logging.Handler):
    """Keeps the reason why Lite did not open, which Lite only logs."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Remembers the exception that the record carries."""
        if record.exc_info:
            self.error = record.exc_info[1]
