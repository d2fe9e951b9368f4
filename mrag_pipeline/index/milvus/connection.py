"""A client for Milvus Lite or a server, and Milvus's errors in our words.

pymilvus itself retries a call that found no server, with back-off, until the call's timeout:
it is the only owner of that retry, so none is added here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # it ships no types
from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.errors import (
    ConfigError,
    IndexBusy,
    IndexUnavailable,
    MragError,
    NoLiveVersion,
    PlanRefused,
    StorageFull,
)
from mrag_pipeline.index.milvus.lite import database_path
from mrag_pipeline.settings.milvus import MilvusSpec

COLLECTION_NOT_FOUND = 100
_CONNECT_FAILED = 2
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

# Open Lite databases of this process by path: the last one out lets go of the lock.
_open_paths: dict[str, int] = {}
_open_lock = threading.Lock()


def connect(spec: MilvusSpec) -> MilvusClient:
    """A client that has reached its server, or that has opened its Lite database.

    Raises: ConfigError, IndexBusy, IndexUnavailable, StorageFull.
    """
    _be_quiet()
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
                # A connection that is shared by address would be the first one's, whoever signed.
                dedicated=bool(certificates),
                **certificates,
            )
        except MilvusException as error:
            if _is_denial(error):
                raise _denied(spec) from error
            raise IndexUnavailable(
                f"no Milvus answers at {spec.uri}: {error.message}",
                "a server, or a path ending in .db for Milvus Lite",
                "start the server or change milvus.uri; `mrag doctor` checks it",
            ) from error


def disconnect(client: MilvusClient, spec: MilvusSpec) -> None:
    """Closes the client; the last one of a Lite database also gives up its lock."""
    client.close()
    path = database_path(spec.uri)
    if path is None:
        return
    from milvus_lite.server_manager import server_manager_instance

    with _open_lock:
        _open_paths[str(path)] -= 1
        if _open_paths[str(path)] == 0:
            del _open_paths[str(path)]
            server_manager_instance.release_server(str(path))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Milvus's and gRPC's errors as ours; `doing` says what failed.

    Raises: IndexUnavailable, StorageFull, NoLiveVersion for a collection that is not there,
    ConfigError for a refused token, PlanRefused for what Milvus will never take.
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


_RETRY = "check that Milvus is up (`mrag doctor`), then run the same command again"


def _translate(doing: str, error: MilvusException) -> MragError:
    message = error.message or str(error)
    found = f"{doing}: {message}"
    lowered = message.lower()
    if "no space left" in lowered or "disk quota" in lowered:
        return StorageFull(
            found,
            "room for the index",
            "free space, then run the same command again: what is done is kept",
        )
    if error.code == COLLECTION_NOT_FOUND or "can't find collection" in lowered:
        return NoLiveVersion(
            found, "a loaded version", "see `mrag status`; `mrag ingest` builds what is missing"
        )
    unreached = error.code == _CONNECT_FAILED or isinstance(error.code, grpc.StatusCode)
    # A server that is going down answers that it finds none of its own parts.
    unreached = unreached or "find no available" in lowered or "not healthy" in lowered
    if unreached or error.retriable or "timeout" in lowered:
        return IndexUnavailable(found, fix=_RETRY)
    return PlanRefused(found, "what this Milvus can hold", "change what the message names")


def _open_lite(path: Path) -> MilvusClient:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot create {path.parent}: {error}",
            "a folder that can be written",
            "change milvus.uri in the config file",
        ) from error
    with _open_lock:
        cause = _Cause()
        logger = logging.getLogger("milvus_lite.server_manager")
        logger.addHandler(cause)
        logger.setLevel(logging.ERROR)
        propagates, logger.propagate = logger.propagate, False
        try:
            client = MilvusClient(str(path))
        except MilvusException as error:
            raise _lite_error(path, cause.error or error) from error
        finally:
            logger.removeHandler(cause)
            logger.propagate = propagates
        _open_paths[str(path)] = _open_paths.get(str(path), 0) + 1
        return client


def _lite_error(path: Path, cause: BaseException) -> MragError:
    if type(cause).__name__ == "DataDirLockedError":
        return IndexBusy(
            f"{path} is open in another process",
            "Milvus Lite has one owner at a time",
            "let the other `mrag` end; or serve it to many with `milvus-lite server "
            f"--data-dir {path} --host 127.0.0.1 --port 19530` and set milvus.uri to "
            "http://127.0.0.1:19530",
        )
    if isinstance(cause, OSError) and cause.errno is not None and "space" in str(cause):
        return StorageFull(f"cannot open {path}: {cause}", "room for the index", "free space")
    return ConfigError(
        f"cannot open {path}: {cause}",
        "a folder of Milvus Lite 3 that can be read and written",
        "move it away and run `mrag ingest`: staged vectors are loaded again, not embedded again",
    )


def _certificates(spec: MilvusSpec) -> dict[str, str]:
    """What pymilvus is told of TLS; it reads the files without a word for who named them.

    Raises: ConfigError.
    """
    named = {key: getattr(spec, key) for key in ("tls_ca", "tls_cert", "tls_key")}
    given = {key: path for key, path in named.items() if path}
    if given and not spec.uri.startswith("https://"):
        raise ConfigError(
            f"{', '.join(f'milvus.{key}' for key in given)}, and no TLS at {spec.uri}",
            "an https:// address",
            "change milvus.uri, or leave the certificates out",
        )
    if ("tls_cert" in given or "tls_key" in given) and len(given) < 3:
        raise ConfigError(
            f"of milvus.tls_ca, tls_cert and tls_key only {', '.join(given)}",
            "all three where the server asks for a certificate, else tls_ca alone or none",
            "name the missing ones",
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
    """Whether a token was refused: only the cause of the error says so."""
    seen: list[BaseException] = []  # gRPC's errors may be causes of themselves
    while error is not None and error not in seen:
        code = error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None
        # A certificate's unknown authority is another matter.
        if code in _DENIED or "auth" in str(error).lower().replace("authority", ""):
            return True
        seen.append(error)
        error = error.__cause__
    return False


def _denied(spec: MilvusSpec) -> ConfigError:
    return ConfigError(
        f"Milvus at {spec.uri} refuses the token",
        f"a valid one in the variable {spec.token_env}",
        f"export {spec.token_env}=user:password",
    )


class _Cause(logging.Handler):
    """Keeps why Lite did not open: its caller is told only that it did not."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Remembers the exception that the record carries."""
        if record.exc_info:
            self.error = record.exc_info[1]


def _be_quiet() -> None:
    # What they log is in the errors that reach the caller; a page of it helps nobody.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
