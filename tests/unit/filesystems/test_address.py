"""A bucket's server, read from the URI and the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.filesystems.location import from_anywhere, open_place, shown
from mrag_pipeline.filesystems.s3_address import ATTEMPTS, Address, address


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


def test_aws_needs_nothing() -> None:
    """No endpoint, and a region that is looked up when it is opened."""
    assert address("s3://bucket/a/b/", "corpus") == Address("bucket", "a/b")
    assert address("s3://bucket", "corpus").path == "bucket"
    assert address("s3://bucket/a%20b", "corpus").path == "bucket/a b"
    assert address("s3://bucket", "corpus").attempts == ATTEMPTS


def test_the_environment_names_server_region_and_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every AWS tool reads it; the S3-specific variable comes first."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    found = address("s3://bucket/x", "corpus")
    assert (found.endpoint, found.region, found.attempts) == ("http://minio:9000", "eu-west-1", 3)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.org")
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    found = address("s3://bucket/x", "corpus")
    assert (found.endpoint, found.region) == ("https://s3.example.org", "eu-west-2")


def test_a_uris_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """For two servers in one run."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    uri = "s3://bucket/x?endpoint_override=other:1&scheme=http&region=r&tls_ca_file_path=/ca.pem"
    found = address(f"{uri}&force_virtual_addressing=true", "corpus")
    assert found == Address("bucket", "x", "http://other:1", "r", virtual=True, ca_file="/ca.pem")
    assert address("s3://bucket?endpoint_override=other:1", "corpus").endpoint == "https://other:1"


def test_the_shared_config_file_names_server_and_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The active profile's values; a missing profile is an error that names it."""
    file = tmp_path / "config"
    file.write_text("[profile mrag]\nregion = eu-west-3\nendpoint_url = http://minio:9000\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mrag")
    found = address("s3://bucket", "corpus")
    assert (found.endpoint, found.region) == ("http://minio:9000", "eu-west-3")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        address("s3://bucket", "corpus")


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://KEY:hidden@bucket/x", "credentials in the URI"),
        ("s3://bucket/x?secret_key=hidden", "unknown options secret_key"),
        ("s3://bucket/x?allow_bucket_creation=true", "unknown options allow_bucket_creation"),
        ("s3://", "the URI names no bucket"),
        ("s3://bucket?endpoint_override=ftp://x", "endpoint 'ftp://x'"),
    ],
)
def test_an_invalid_uri_is_refused_and_its_secrets_are_not_shown(uri: str, found: str) -> None:
    """A URI is stored with every version, so the error does not show the secret."""
    with pytest.raises(ConfigError) as caught:
        open_place(uri, f"staging.uri {shown(uri)!r}")
    assert found in caught.value.found
    assert "hidden" not in str(caught.value)


def test_a_wrong_uris_password_is_not_repeated() -> None:
    """Not even if pyarrow's message quotes the whole URI."""
    with pytest.raises(ConfigError) as caught:
        open_place("nosuch://user:hidden@host/x?key=hidden", "corpus")
    assert "nosuch://host/x" in caught.value.found
    assert "hidden" not in str(caught.value)


def test_a_place_has_one_name_in_every_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Workers have another one; a home is the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert from_anywhere("backups/docs") == str(tmp_path / "backups" / "docs")
    assert from_anywhere("~/docs") == "/home/me/docs"
    assert from_anywhere("s3://bucket/docs") == "s3://bucket/docs"
