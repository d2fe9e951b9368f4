"""Errors of pyarrow and botocore become clear messages."""

from __future__ import annotations

import pytest

from mrag_pipeline.filesystems.failures import StoreError, failure

PUT = "When uploading object with key 'x': AWS Error {} during PutObject operation: {}"
HEAD = "When getting information for key 'x': AWS Error {} during HeadObject operation: {}"
ID = " (Request ID: 18EB696ACD4E7301)"


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (PUT.format("NO_SUCH_BUCKET", f"It does not exist{ID}"), "has no bucket 'docs'", "create"),
        (PUT.format("INVALID_ACCESS_KEY_ID", f"No such key.{ID}"), "refuses", "AWS_PROFILE"),
        (HEAD.format("ACCESS_DENIED", "No response body."), "(access denied)", "AWS_PROFILE"),
        (PUT.format("NETWORK_CONNECTION", "curlCode: 7, refused"), "no answer", "AWS_ENDPOINT_URL"),
        (PUT.format("SLOW_DOWN", f"Reduce your rate{ID}"), "(Reduce your rate)", "run the same"),
        (
            HEAD.format("UNKNOWN (HTTP status 503)", "No response body."),
            "failed after several attempts",
            "run the",
        ),
        (HEAD.format("UNKNOWN (HTTP status 301)", "No response body."), "another region", "REGION"),
        (StoreError("NoSuchBucket", "none"), "has no bucket 'docs'", "create"),
        (StoreError("403", "Forbidden"), "refuses", "AWS_PROFILE"),
        (
            StoreError("NoCredentialsError", "Unable to locate credentials"),
            "refuses",
            "AWS_PROFILE",
        ),
        (StoreError("EndpointConnectionError", "no"), "no answer", "AWS_ENDPOINT_URL"),
        (
            StoreError("SlowDown", "Reduce your rate"),
            "failed after several attempts",
            "run the same",
        ),
    ],
    ids=str,
)
def test_both_clients_errors_get_the_same_message(
    error: str | StoreError, found: str, fix: str
) -> None:
    """The server, what happened and what to do, without the request id."""
    told = failure(OSError(error) if isinstance(error, str) else error, "S3", "docs")
    assert told.is_store
    assert found in told.found
    assert fix in told.fix
    assert "Request ID" not in told.found


def test_a_full_store_is_recognised() -> None:
    """MinIO's code for it, which pyarrow does not know."""
    text = (
        "Unable to parse ExceptionName: XMinioStorageFull Message: Storage backend has reached it"
    )
    told = failure(OSError(PUT.format("UNKNOWN (HTTP status 507)", text)))
    assert told.is_full


def test_a_content_error_is_not_a_store_error() -> None:
    """An invalid Parquet file is not reported as a network failure."""
    told = failure(OSError("Could not open Parquet input source: Parquet magic bytes not found"))
    assert not told.is_store
    assert told.found.startswith("Could not open")
    assert failure(OSError(2, "No such file or directory")).found.endswith("such file or directory")
