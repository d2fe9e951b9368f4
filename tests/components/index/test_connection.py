"""Milvus's and gRPC's errors in our words."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from pymilvus import MilvusException

from mrag_pipeline.errors import (
    ConfigError,
    IndexUnavailable,
    MragError,
    NoLiveVersion,
    PlanRefused,
    StorageFull,
)
from mrag_pipeline.index.milvus.connection import _is_denial, translated


class _Refused(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (MilvusException(100, "can't find collection[x]"), NoLiveVersion),
        (MilvusException(700, "index not found[collection=x]"), NoLiveVersion),
        (MilvusException(1, "[Errno 28] No space left on device"), StorageFull),
        (MilvusException(2, "Fail connecting to server on host:1"), IndexUnavailable),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "[search] gave up"), IndexUnavailable),
        (MilvusException(1, "[load] Retry timeout: 30s"), IndexUnavailable),
        (MilvusException(5, "node is busy", retriable=True), IndexUnavailable),
        (MilvusException(65535, "find no available rootcoord"), IndexUnavailable),
        (MilvusException(1100, "length of text exceeds max length"), PlanRefused),
        (_Refused(grpc.StatusCode.DEADLINE_EXCEEDED), IndexUnavailable),
        (_Refused(grpc.StatusCode.UNAUTHENTICATED), ConfigError),
        (grpc.FutureTimeoutError(), IndexUnavailable),
    ],
)
def test_an_error_says_whether_trying_again_can_help(
    error: Exception, ours: type[MragError]
) -> None:
    """A refusal by Milvus is permanent; a missing answer is transient."""
    with pytest.raises(ours, match="cannot search x") as caught, translated("cannot search x"):
        raise error
    assert type(caught.value) is ours
    assert caught.value.fix
    assert caught.value.__cause__ is error


def test_an_error_of_ours_passes_unchanged() -> None:
    """Translating twice does not bury the first message."""
    mine = StorageFull("full")
    with pytest.raises(StorageFull) as caught, translated("outer"):
        raise mine
    assert caught.value is mine


def test_an_error_that_is_its_own_cause_ends_the_search() -> None:
    """GRPC raises such errors; a refused certificate is not a refused token."""
    error = MilvusException(2, "certificate signed by unknown authority")
    inner = _Refused(grpc.StatusCode.UNAVAILABLE)
    error.__cause__, inner.__cause__ = inner, error
    assert not _is_denial(error)
    inner.__cause__ = _Refused(grpc.StatusCode.UNAUTHENTICATED)
    assert _is_denial(error)
