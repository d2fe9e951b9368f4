"""What an s3:// URI, the environment and the shared config file say of a bucket's server.

    s3://bucket/key
    s3://bucket/key?endpoint_override=127.0.0.1:9000&scheme=http

Secrets are neither in the URI nor here: both clients (pyarrow's for content, botocore for
listing and removing) look for credentials by the standard chain, and renew them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from mrag_pipeline.errors import ConfigError

CONNECT_S = 5.0
# pyarrow's own documentation says that Linux ignores it; there it ends what stands still so long.
SILENT_S = 20.0
# Of one call, by the client alone: the pauses between them add up to about a minute.
ATTEMPTS = 8

_OPTIONS = ("endpoint_override", "scheme", "region", "force_virtual_addressing", "tls_ca_file_path")
_YES = ("true", "1")


@dataclass(frozen=True, slots=True)
class Address:
    """A key in a bucket, and the server that has it."""

    bucket: str
    key: str  # no slash at its ends; "": the whole bucket
    endpoint: str = ""  # scheme://host:port; "": AWS
    region: str = ""  # "": where AWS says that the bucket is
    virtual: bool = False  # bucket.host even at an endpoint; AWS always
    ca_file: str = ""
    attempts: int = ATTEMPTS

    @property
    def server(self) -> str:
        """For people."""
        return f"the object store at {self.endpoint}" if self.endpoint else "AWS S3"

    @property
    def path(self) -> str:
        """Bucket and key, as pyarrow names them."""
        return f"{self.bucket}/{self.key}".rstrip("/")


def address(uri: str, what: str) -> Address:
    """What the URI says, completed from the environment and the shared config file.

    Args:
        what: names the setting that holds the URI.
    Raises: ConfigError; its text shows no option and no credential.
    """
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise _wrong(
            what,
            "credentials in the URI",
            "none: a URI is stored and shown",
            "leave them to the environment or to ~/.aws/credentials",
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        # Only their names: a value may be a secret.
        raise _wrong(what, f"unknown options {', '.join(unknown)}", ", ".join(_OPTIONS))
    if not parts.netloc:
        raise _wrong(what, "no bucket is named", "s3://bucket/key")
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


def open_s3(place: Address) -> fs.S3FileSystem:
    """The client of pyarrow, where a file of less than a part (10 MB) is one PUT.

    Raises: OSError if AWS does not tell the bucket's region.
    """
    scheme, _, host = place.endpoint.partition("://")
    server = {"endpoint_override": host, "scheme": scheme} if host else {}
    tls = {"tls_ca_file_path": place.ca_file} if place.ca_file else {}
    return fs.S3FileSystem(
        region=place.region or fs.resolve_s3_region(place.bucket),
        connect_timeout=CONNECT_S,
        request_timeout=SILENT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=place.attempts),
        # Without it the smallest file is a multipart upload: three requests instead of one.
        allow_delayed_open=True,
        force_virtual_addressing=place.virtual,
        **server,
        **tls,
    )


def _environment_endpoint() -> str:
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return named or _shared("endpoint_url")


def _region() -> str:
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or _shared("region")


def _shared(key: str) -> str:
    """What the profile in use says in the shared config file."""
    file = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    if not Path(file).expanduser().is_file():
        return ""  # and botocore's import is saved
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
