"""Connects to Milvus Lite or a server, and translates Milvus's errors to ours.

pymilvus retries a call that reached no server, with back-off, until the call's timeout. It alone
owns that retry, so none is added here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # it ships no types
from pymilvus import MilvusClient, MilvusException

from mrag_pipeline import environment
from mrag_pipeline.errors import (
    ConfigError,
    IndexDamaged,
    IndexUnavailable,
    MragError,
    NoLiveVersion,
    PlanRefused,
    StorageFull,
)
from mrag_pipeline.index.milvus.lite import database_path
from mrag_pipeline.index.milvus.lite_clients import closed_lite, open_lite
from mrag_pipeline.settings.milvus import MilvusSpec

COLLECTION_NOT_FOUND = 100
_CONNECT_FAILED = 2
_NOT_LOADED = 101
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def connect(spec: MilvusSpec) -> MilvusClient:
    """A client that has reached its server or opened its Lite database.

    Raises: ConfigError, IndexBusy, IndexUnavailable, StorageFull.
    """
    _be_quiet()
    environment.spare_loopback()
    path = database_path(spec.uri)
    if path is not None:
        return open_lite(path)
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
    if path is not None:
        closed_lite(path)


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


def _be_quiet() -> None:
    # The errors that reach the caller already hold what these libraries log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
