"""Reads a bucket's server from its s3:// URI, the environment and the shared config file.

    s3://bucket/key
    s3://bucket/key?endpoint_override=127.0.0.1:9000&scheme=http

Neither the URI nor this module holds secrets: both clients (pyarrow's for content, botocore for
listing and removing) find credentials by the standard chain, and renew them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from mrag_pipeline.errors import ConfigError

CONNECT_S = 5.0
# Ends a transfer that stalls for so long, also on Linux (pyarrow's documentation denies that).
SILENT_S = 20.0
# For one call, by the client alone; the pauses between attempts add up to about a minute.
ATTEMPTS = 8

_OPTIONS = ("endpoint_override", "scheme", "region", "force_virtual_addressing", "tls_ca_file_path")
_YES = ("true", "1")


@dataclass(frozen=True, slots=True)
class Address:
    """A key in a bucket, and the server that has it."""

    bucket: str
    key: str  # without slashes at its ends; "": the whole bucket
    endpoint: str = ""  # scheme://host:port; "": AWS
    region: str = ""  # "": AWS is asked for the bucket's region
    virtual: bool = False  # bucket.host at an endpoint too; AWS always uses it
    ca_file: str = ""
    attempts: int = ATTEMPTS

    @property
    def server(self) -> str:
        """The server's name in messages."""
        return f"the object store at {self.endpoint}" if self.endpoint else "AWS S3"

    @property
    def path(self) -> str:
        """Bucket and key, as pyarrow names them."""
        return f"{self.bucket}/{self.key}".rstrip("/")


def address(uri: str, what: str) -> Address:
    """The URI's address, completed from the environment and the shared config file.

    Args:
        what: the setting that holds the URI, for error messages.
    Raises: ConfigError; its text shows no option value and no credential.
    """
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise _wrong(
            what,
            "credentials in the URI",
            "a URI without them: it is stored and shown",
            "set them in the environment or in ~/.aws/credentials",
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        # Only their names are shown: a value may be secret.
        raise _wrong(what, f"unknown options {', '.join(unknown)}", ", ".join(_OPTIONS))
    if not parts.netloc:
        raise _wrong(what, "the URI names no bucket", "s3://bucket/key")
    scheme = options.get("scheme", "")
    endpoint = options.get("endpoint_override") or _environment_endpoint() or ""
    if endpoint and "://" not in endpoint:
        endpoint = f"{scheme or 'https'}://{endpoint}"
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise _wrong(what, f"endpoint {endpoint!r}", "http://host:port or https://host")
    return Address(
        bucket=parts.netloc,
        key=unquote(parts.path).strip("/"),
        endpoint=endpoint.rstrip("/"),
        region=options.get("region") or _region() or ("us-east-1" if endpoint else ""),
        virtual=options.get("force_virtual_addressing", "").lower() in _YES,
        ca_file=options.get("tls_ca_file_path") or os.environ.get("AWS_CA_BUNDLE", ""),
        attempts=_attempts(),
    )


def open_s3(s3_address: Address) -> fs.S3FileSystem:
    """The pyarrow client; it sends a file below one part (10 MB) as one PUT.

    Raises: OSError if AWS does not report the bucket's region.
    """
    scheme, _, host = s3_address.endpoint.partition("://")
    server = {"endpoint_override": host, "scheme": scheme} if host else {}
    tls = {"tls_ca_file_path": s3_address.ca_file} if s3_address.ca_file else {}
    return fs.S3FileSystem(
        region=s3_address.region or fs.resolve_s3_region(s3_address.bucket),
        connect_timeout=CONNECT_S,
        request_timeout=SILENT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=s3_address.attempts),
        # Otherwise even the smallest file is a multipart upload: three requests instead of one.
        allow_delayed_open=True,
        force_virtual_addressing=s3_address.virtual,
        **server,
        **tls,
    )


def _environment_endpoint() -> str:
    from_environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return from_environment or _shared("endpoint_url")


def _region() -> str:
    from_environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return from_environment or _shared("region")


def _shared(key: str) -> str:
    """The active profile's value in the shared config file; "" if there is none."""
    file = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    if not Path(file).expanduser().is_file():
        return ""  # without the cost of importing botocore
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    try:
        profile = get_session().get_scoped_config()
    except BotoCoreError as error:
        raise ConfigError(
            f"the shared config file {file}: {error}", "a profile", "check AWS_PROFILE"
        ) from None
    return str(profile.get(key, ""))


def _attempts() -> int:
    text = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else ATTEMPTS


def _wrong(what: str, found: str, expected: str, fix: str = "") -> ConfigError:
    return ConfigError(f"{what}: {found}", expected, fix or "correct the URI")
