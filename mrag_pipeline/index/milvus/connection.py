"""Connects to Milvus Lite or a server, and translates Milvus's errors to ours.

pymilvus retries a call that reached no server, with back-off, until the call's timeout. It alone
owns that retry, so none is added here.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # it ships no types
from pymilvus import MilvusClient, MilvusException

from mrag_pipeline import environment
from mrag_pipeline.errors import (
    ConfigError,
    IndexBusy,
    IndexDamaged,
    IndexUnavailable,
    MragError,
    NoLiveVersion,
    PlanRefused,
    StorageFull,
)
from mrag_pipeline.index.milvus.lite import database_path
from mrag_pipeline.index.milvus.lite_leftovers import remove_leftovers
from mrag_pipeline.index.milvus.read_only import LinkedDatabase, ReadOnlyClient, is_read_only
from mrag_pipeline.settings.milvus import MilvusSpec

COLLECTION_NOT_FOUND = 100
_CONNECT_FAILED = 2
_NOT_LOADED = 101
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

# Counts this process's clients of each Lite database: the last one to close releases its lock.
_num_clients: dict[str, int] = {}
_linked: dict[str, LinkedDatabase] = {}  # those that this user can only read
_open_lock = threading.Lock()


def connect(spec: MilvusSpec) -> MilvusClient:
    """A client that has reached its server or opened its Lite database.

    Raises: ConfigError, IndexBusy, IndexUnavailable, StorageFull.
    """
    _be_quiet()
    environment.spare_loopback()
    path = database_path(spec.uri)
    if path is not None:
        return _open_lite(path)
    token = os.environ.get(spec.token_env, "") if spec.token_env else ""
    certificates = _certificates(spec)
    with translated(f"cannot reach Milvus at {spec.uri}"):
        try:
            return MilvusClient(
                spec.uri,
                token=token,
                db_name=spec.db_name,
                timeout=min(spec.timeout_s, 10),
                # pymilvus shares connections by address, so another certificate would be ignored.
                dedicated=bool(certificates),
                **certificates,
            )
        except MilvusException as error:
            if _is_denial(error):
                raise _denied(spec) from error
            raise IndexUnavailable(
                f"cannot connect to Milvus at {spec.uri}: {error.message}",
                "a server, or a path ending in .db for Milvus Lite",
                "start the server or change milvus.uri; `mrag doctor` checks it",
            ) from error


def disconnect(client: MilvusClient, spec: MilvusSpec) -> None:
    """Closes the client; closing a Lite database's last client also releases its lock."""
    client.close()
    path = database_path(spec.uri)
    if path is None:
        return
    from milvus_lite.server_manager import server_manager_instance

    with _open_lock:
        _num_clients[str(path)] -= 1
        if _num_clients[str(path)] == 0:
            del _num_clients[str(path)]
            linked = _linked.pop(str(path), None)
            server_manager_instance.release_server(str(linked.folder if linked else path))
            if linked is not None:
                linked.close()


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translates errors of Milvus and gRPC to ours; `doing` says what failed.

    Raises: IndexUnavailable; StorageFull; NoLiveVersion for a missing collection; ConfigError for
        a refused token; IndexDamaged for a file that cannot be read; PlanRefused for what Milvus
        will never accept.
    """
    try:
        yield
    except MragError:
        raise
    except MilvusException as error:
        raise _translate(doing, error) from error
    except grpc.FutureTimeoutError as error:
        raise IndexUnavailable(f"{doing}: no answer in time", fix=_RETRY) from error
    except grpc.RpcError as error:
        code = error.code() if hasattr(error, "code") else None
        if code in _DENIED:
            raise ConfigError(
                f"{doing}: Milvus refuses the token ({code})",
                "a token with rights on the database",
                "set the variable that milvus.token_env names",
            ) from error
        raise IndexUnavailable(f"{doing}: {code or error}", fix=_RETRY) from error


def is_released(error: MilvusException) -> bool:
    """Whether a collection is there, but not in memory; so it is after a server's restart."""
    return bool(error.code == _NOT_LOADED or "not loaded" in str(error.message).lower())


_LITE_STUMBLED = 1  # what Lite says of an error that is none of its own, such as pyarrow's
_SIGNS_OF_DAMAGE = (
    *("parquet", "corrupt", "manifest.json", "expecting ", "not valid json"),
    *("failed to read", "could only read", "thrift", "unexpected end", "no such file"),
)
_REPAIR = "run `mrag audit`; `mrag repair` builds what is damaged anew from staging"
_RETRY = "check that Milvus is up (`mrag doctor`), then run the same command again"


def _translate(doing: str, error: MilvusException) -> MragError:
    message = error.message or str(error)
    failure = f"{doing}: {message}"
    lowered = message.lower()
    if "no space left" in lowered or "disk quota" in lowered:
        return StorageFull(
            failure,
            "room for the index",
            "free space, then run the same command again: finished work is kept",
        )
    # A collection that is being loaded, by a repair for example, has no index yet.
    is_missing = any(sign in lowered for sign in ("can't find collection", "index not found"))
    if error.code == COLLECTION_NOT_FOUND or is_missing:
        return NoLiveVersion(
            failure,
            "a loaded version",
            "run `mrag status`; `mrag repair` builds a lost part of the live version anew",
        )
    stumbled = error.code == _LITE_STUMBLED and any(sign in lowered for sign in _SIGNS_OF_DAMAGE)
    if stumbled or "schema file" in lowered:
        return IndexDamaged(failure, "a file as Milvus Lite wrote it", _REPAIR)
    unreached = error.code == _CONNECT_FAILED or isinstance(error.code, grpc.StatusCode)
    # While a server shuts down, it answers that its own parts are not available.
    unreached = unreached or "find no available" in lowered or "not healthy" in lowered
    if unreached or error.retriable or "timeout" in lowered:
        return IndexUnavailable(failure, fix=_RETRY)
    return PlanRefused(
        failure, "a request that this Milvus accepts", "change what the message names"
    )


def _open_lite(path: Path) -> MilvusClient:
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
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
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


def _certificates(spec: MilvusSpec) -> dict[str, str]:
    """The TLS arguments of pymilvus; its errors do not name the setting, so files are checked here.

    Raises: ConfigError.
    """
    named = {key: getattr(spec, key) for key in ("tls_ca", "tls_cert", "tls_key")}
    given = {key: path for key, path in named.items() if path}
    if given and not spec.uri.startswith("https://"):
        raise ConfigError(
            f"{', '.join(f'milvus.{key}' for key in given)} set, but {spec.uri} does not use TLS",
            "an https:// address",
            "change milvus.uri, or remove the certificates",
        )
    if ("tls_cert" in given or "tls_key" in given) and len(given) < 3:
        raise ConfigError(
            f"of milvus.tls_ca, tls_cert and tls_key only {', '.join(given)} is set",
            "all three if the server asks for a certificate, else tls_ca alone or none",
            "set the missing ones",
        )
    for key, path in given.items():
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read milvus.{key}: {error}", "a PEM file", f"correct milvus.{key}"
            ) from error
    if "tls_cert" not in given:
        return {"server_pem_path": spec.tls_ca} if given else {}
    return {
        "ca_pem_path": spec.tls_ca,
        "client_pem_path": spec.tls_cert,
        "client_key_path": spec.tls_key,
    }


def _is_denial(error: BaseException | None) -> bool:
    """Whether the server refused the token: only the error's causes say so."""
    seen: list[BaseException] = []  # a gRPC error may be its own cause
    while error is not None and error not in seen:
        code = error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None
        # An unknown certificate authority is a different problem.
        if code in _DENIED or "auth" in str(error).lower().replace("authority", ""):
            return True
        seen.append(error)
        error = error.__cause__
    return False


def _denied(spec: MilvusSpec) -> ConfigError:
    return ConfigError(
        f"Milvus at {spec.uri} refuses the token",
        f"a valid token in the variable {spec.token_env}",
        f"export {spec.token_env}=user:password",
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


def _be_quiet() -> None:
    # The errors that reach the caller already hold what these libraries log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
