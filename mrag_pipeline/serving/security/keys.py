"""API keys. Only their hashes are stored, in an environment variable.

The variable that `serve.keys_env` names holds one entry per key, separated by newlines or
semicolons:

    name=frontend sha256=9f86d0...0f00a08 tenant=acme expires=2027-01-31T00:00:00Z

or the same as JSON: `[{"name": "frontend", "sha256": "9f86d0...", "tenant": "acme"}]`.
`tenant` and `expires` are optional. Two entries with the same name are one caller that changes its
key: both are valid until the old one is removed or expires.

A key is 256 bits from the system's random source, so its plain SHA-256 reveals nothing: the salts
and slow hashes that passwords need would only slow down every request.

No message of this module quotes the variable: someone who got the format wrong may have put a
secret there.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.serve import ServeSpec

PREFIX = "mrag_"  # lets people and leak scanners recognise a secret
FIELDS = ("name", "sha256", "tenant", "expires")
_NAME = re.compile(r"(?!mrag_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[^\s;\"'\\\[\]{}]+")  # a value that fits the line format
_FIX = "make an entry with `mrag keys new NAME`"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as the service knows it: never the secret."""

    name: str
    sha256: str = field(repr=False)  # of the secret's UTF-8 bytes, hexadecimal
    tenant: str | None = None  # None: may ask for any tenant
    expires: datetime | None = None  # in UTC

    def has_expired(self, now: datetime) -> bool:
        """Whether `now` is at or after `expires`."""
        return self.expires is not None and now >= self.expires

    def entry(self) -> str:
        """The key's entry in the environment: a line, or JSON if the line format cannot hold it."""
        values = {"name": self.name, "sha256": self.sha256}
        if self.tenant is not None:
            values["tenant"] = self.tenant
        if self.expires is not None:
            values["expires"] = self.expires.isoformat().replace("+00:00", "Z")
        if all(_PLAIN.fullmatch(value) for value in values.values()):
            return " ".join(f"{key}={value}" for key, value in values.items())
        return json.dumps([values])


class Keys:
    """All keys of a service."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        """The keys, checked against each other.

        Raises: ConfigError for a repeated key, or a name with two tenants.
        """
        self._keys = tuple(keys)
        hashes: set[str] = set()
        tenants: dict[str, str | None] = {}
        for number, key in enumerate(self._keys, 1):
            if key.sha256 in hashes:
                raise ConfigError(
                    f"API key {number} has the hash of an earlier one", "each key once", _FIX
                )
            if tenants.setdefault(key.name, key.tenant) != key.tenant:
                raise ConfigError(
                    f"API key {number} has the name of an earlier one and another tenant",
                    "one tenant for each name",
                )
            hashes.add(key.sha256)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret, expired or not; None if it is unknown.

        Compares every key in constant time, even after a match: the time taken does not reveal
        whether a key matched, or which.
        """
        given = digest(secret)
        match = None
        for key in self._keys:
            if hmac.compare_digest(given, key.sha256):
                match = key
        return match

    def have_tenants(self) -> bool:
        """Whether any key is bound to a tenant."""
        return any(key.tenant is not None for key in self._keys)


def digest(secret: str) -> str:
    """The hash that is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(
    name: str, tenant: str | None = None, expires: datetime | None = None
) -> tuple[str, ApiKey]:
    """A new secret, to be shown once, and the key that is stored of it.

    Raises: ConfigError for an invalid name, tenant or time.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    values = {"name": name, "sha256": digest(secret)}
    if tenant is not None:
        values["tenant"] = tenant
    if expires is not None:
        values["expires"] = expires.isoformat()
    return secret, _key("the new API key", values)


def read_keys(spec: ServeSpec, environment: Mapping[str, str] | None = None) -> Keys:
    """The keys in the environment; none if the variable is unset or empty.

    Raises: ConfigError with the entry's number, never its content.
    """
    variable = spec.keys_env
    text = (os.environ if environment is None else environment).get(variable, "").strip()
    if text.startswith(("[", "{")):
        entries = _json_entries(text, variable)
    else:
        lines = [line.strip() for line in re.split(r"[;\n]", text)]
        entries = [_line_entry(f"entry {n} of {variable}", s) for n, s in _numbered(lines)]
    return Keys(_key(f"entry {n} of {variable}", entry) for n, entry in enumerate(entries, 1))


def check_exposure(spec: ServeSpec, keys: Keys, host: str | None = None) -> None:
    """Checks that a service may listen on its host with these keys.

    Args:
        host: where it listens, if not on `spec.host` (Serve's proxies have their own).
    Raises: ConfigError for a host beyond loopback without keys, and for keys bound to a tenant
        without `serve.tenant_field`.
    """
    host = spec.host if host is None else host
    if not keys and not is_loopback(host):
        raise ConfigError(
            f"a service on {host or 'every interface'} without API keys",
            f"keys in the environment variable {spec.keys_env}, or a loopback host",
            "make one with `mrag keys new NAME`, or set serve.host to 127.0.0.1",
        )
    if keys.have_tenants() and not spec.tenant_field:
        raise ConfigError(
            "API keys are bound to a tenant, but serve.tenant_field is not set",
            "the metadata key that holds a document's tenant",
            "set serve.tenant_field: without it such a key would find every tenant's documents",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _numbered(lines: Sequence[str]) -> Iterable[tuple[int, str]]:
    return enumerate((line for line in lines if line and not line.startswith("#")), 1)


def _line_entry(where: str, line: str) -> dict[str, str]:
    entry: dict[str, str] = {}
    for part in line.split():
        key, equals, value = part.partition("=")
        if not equals or not value or key not in FIELDS:
            raise _malformed(where, "an unknown field")
        if key in entry:
            raise _malformed(where, f"{key} twice")
        entry[key] = value
    return entry


def _json_entries(text: str, variable: str) -> list[Mapping[str, Any]]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        # `from None`, without the parser's message: it quotes what it read.
        raise _malformed(variable, "invalid JSON") from None
    entries = parsed if isinstance(parsed, list) else [parsed]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not set(entry) <= set(FIELDS):
            raise _malformed(f"entry {number} of {variable}", "an unknown field")
    return entries


def _key(where: str, entry: Mapping[str, Any]) -> ApiKey:
    """One entry with its fields checked. Messages hold `where`, never a value."""
    values = {key: value for key, value in entry.items() if value is not None}
    for needed in ("name", "sha256"):
        if needed not in values:
            raise _malformed(where, f"no {needed}")
    if not all(isinstance(value, str) for value in values.values()):
        raise _malformed(where, "a value that is not a string")
    if not _NAME.fullmatch(values["name"]):
        raise ConfigError(
            f"{where} has an invalid name",
            f"letters, digits, `.`, `_`, `-`, 64 at most, not starting with {PREFIX}",
            _FIX,
        )
    if not _SHA256.fullmatch(values["sha256"].lower()):
        raise ConfigError(
            f"{where} has an invalid sha256",
            "64 hexadecimal digits: the hash of the secret, never the secret itself",
            _FIX,
        )
    tenant = values.get("tenant")
    if tenant is not None and not (tenant.strip() and tenant.isprintable() and len(tenant) <= 512):
        raise ConfigError(
            f"{where} has an invalid tenant", "printable text, 512 characters at most", _FIX
        )
    expires = None if "expires" not in values else _time(where, values["expires"])
    return ApiKey(values["name"], values["sha256"].lower(), tenant, expires)


def _time(where: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{where} has an invalid expiry",
            "a time such as 2027-01-31T00:00:00Z, or a date (midnight UTC)",
            _FIX,
        ) from None


def _malformed(where: str, what: str) -> ConfigError:
    return ConfigError(
        f"{where} has {what}",
        f"{', '.join(f'{key}=...' for key in FIELDS)} (the last two are optional), or JSON",
        _FIX,
    )
