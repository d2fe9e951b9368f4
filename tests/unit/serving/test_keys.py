"""Keys: the format of the environment variable, and messages without secrets."""

from __future__ import annotations

import hmac
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.security.keys import (
    ApiKey,
    Keys,
    check_exposure,
    digest,
    is_loopback,
    new_key,
    read_keys,
)
from mrag_pipeline.settings.serve import ServeSpec

SPEC = ServeSpec()
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _read(text: str) -> Keys:
    return read_keys(SPEC, {"MRAG_API_KEYS": text})


def test_a_new_key_is_found_by_its_secret_through_the_environment() -> None:
    """What `new_key` prints for the environment is what `read_keys` takes."""
    secret, key = new_key("frontend", "acme", NOW)
    assert re.fullmatch(r"mrag_[A-Za-z0-9_-]{43}", secret)
    assert _read(key.entry()).find(secret) == key
    assert secret not in key.entry()
    assert secret not in repr(key)


def test_a_tenant_that_a_line_cannot_hold_goes_as_json() -> None:
    """Spaces, semicolons and quotes of a tenant survive."""
    secret, key = new_key("frontend", 'Acme; "Söhne" & co')
    found = _read(key.entry()).find(secret)
    assert found is not None
    assert found.tenant == 'Acme; "Söhne" & co'


def test_every_new_secret_is_another() -> None:
    """Secrets come from the system's random source."""
    assert len({new_key("a")[0] for _ in range(100)}) == 100


def test_a_digest_is_the_plain_sha256() -> None:
    """An operator can make an entry with sha256sum."""
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_lines_and_semicolons_and_comments() -> None:
    """Entries are separated either way; empty ones and comments are passed over."""
    a, b, c = (digest(name) for name in "abc")
    keys = _read(f"name=a sha256={a}; name=b sha256={b};\n\n# old\n name=c   sha256={c.upper()}")
    assert [key.name for key in (keys.find("a"), keys.find("b"), keys.find("c")) if key] == [
        *("a", "b", "c")
    ]


@pytest.mark.parametrize("environment", [{}, {"MRAG_API_KEYS": ""}, {"MRAG_API_KEYS": " \n"}])
def test_no_variable_is_no_keys(environment: dict[str, str]) -> None:
    """Unset or empty: no keys. `check_exposure` decides whether that is allowed."""
    assert len(read_keys(SPEC, environment)) == 0


@pytest.mark.parametrize("secret", ["", "b", "A", "a ", "á", "\ud800", digest("a")])
def test_another_secret_finds_nothing(secret: str) -> None:
    """Not a near one, not an odd one, not the hash itself."""
    assert Keys([ApiKey("a", digest("a"))]).find(secret) is None


@pytest.mark.parametrize("secret", ["first", "second", "third", "none"])
def test_all_keys_are_compared_whichever_is_met(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of comparisons tells nothing about the key."""
    compared = []
    compare = hmac.compare_digest

    def counting(a: str, b: str) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    names = ("first", "second", "third")
    keys = Keys([ApiKey(name, digest(name)) for name in names])
    found = keys.find(secret)
    assert compared == [digest(name) for name in names]
    assert (found.name if found else "none") == secret


def test_two_keys_of_one_name_both_hold() -> None:
    """Rotation: the new key works before the old one ends."""
    old = ApiKey("web", digest("old"), None, NOW + timedelta(days=1))
    keys = Keys([old, ApiKey("web", digest("new"))])
    assert [keys.find(secret).name for secret in ("old", "new")] == ["web", "web"]  # type: ignore[union-attr]


def test_an_expired_key_is_told_from_an_unknown_one() -> None:
    """`find` gives it, and it knows that its time is over: from the very moment on."""
    key = _read(f"name=a sha256={digest('a')} expires=2026-11-23T01:00:00+01:00").find("a")
    assert key is not None
    assert [key.has_expired(NOW + timedelta(seconds=s)) for s in (-1, 0, 1)] == [False, True, True]


def test_a_date_ends_a_key_at_its_first_moment_in_utc() -> None:
    """A time without a zone is UTC."""
    key = _read(f"name=a sha256={digest('a')} expires=2026-11-23").find("a")
    assert key is not None
    assert key.expires == NOW


SECRET = "mrag_" + "Zq7" * 14 + "x"
HASH = digest("a")


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"name=web {SECRET}",
        f"name=web sha256={SECRET}",
        f"name={SECRET} sha256={HASH}",
        f"name=web sha256={HASH} {SECRET}=1",
        f"name=web sha256={HASH} tenant=a tenant={SECRET}",
        f"name=web sha256={HASH} expires={SECRET}",
        f"name=web:{SECRET}",
        f"sha256={HASH}",
        f"name=web sha256={HASH[:-1]}",
        f'["{SECRET}"]',
        f'[{{"name": "web", "sha256": "{SECRET}"}}]',
        f'[{{"name": "web", "secret": "{SECRET}"}}]',
        f'[{{"name": "web", "sha256": "{HASH}", "tenant": ["{SECRET}"]}}]',
        f'{{"name": "web", "sha256": "{SECRET}"',
        "[" * 100_000,
        f"[{SECRET}]",
        f'[{{"name": "web", "sha256": "{HASH}", "tenant": " "}}]',
        f"name=a sha256={HASH}; name=b sha256={HASH}",
        f"name=a sha256={HASH} tenant=x; name=a sha256={digest('b')} tenant=y",
        f"name=a sha256={HASH} tenant=x; name=a sha256={digest('b')}",
    ],
)
def test_a_bad_format_is_refused_without_a_word_of_it(text: str) -> None:
    """The message says where and what would be right; a secret in the wrong place stays secret."""
    with pytest.raises(ConfigError) as caught:
        _read(text)
    told = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert "Zq7" not in told
    assert HASH[:8] not in told
    assert caught.value.expected


@given(st.text(max_size=60))
def test_nothing_of_a_variable_is_ever_repeated(text: str) -> None:
    """Any content: only ConfigError is raised, and it quotes nothing."""
    with pytest.raises(ConfigError) as caught:
        _read(f"Zq7{text}Zq7")
    assert "Zq7" not in str(caught.value)


_HASHES = st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}")
_PRINTABLE = st.text(min_size=1, max_size=30).filter(lambda t: t.isprintable() and t.strip())


@given(_HASHES, st.none() | _PRINTABLE, st.none() | st.datetimes(timezones=st.just(UTC)))
def test_an_entry_reads_back_as_the_key(
    sha256: str, tenant: str | None, expires: datetime | None
) -> None:
    """Every key can be written to the environment and read back."""
    key = ApiKey("web", sha256, tenant, expires)
    assert list(_read(key.entry())._keys) == [key]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 65, "a\n", "mrag_x", "ä"])
def test_a_name_is_a_plain_word(name: str) -> None:
    """It appears in logs and metrics, so it must not look like a secret."""
    with pytest.raises(ConfigError):
        new_key(name)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"]
)
def test_loopback_needs_no_keys(host: str) -> None:
    """Only this machine can ask."""
    assert is_loopback(host)
    check_exposure(ServeSpec(host=host), Keys())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.2", "example.org", "localhost.example.org", "127.1"]
)
def test_another_host_without_keys_refuses_to_start(host: str) -> None:
    """Any host that is not surely loopback needs keys."""
    with pytest.raises(ConfigError, match="without API keys"):
        check_exposure(ServeSpec(host=host), Keys())
    check_exposure(ServeSpec(host=host), Keys([ApiKey("a", HASH)]))


def test_the_host_that_is_listened_on_counts() -> None:
    """Serve's proxies listen where Serve's own config says."""
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        check_exposure(ServeSpec(), Keys(), host="0.0.0.0")


def test_keys_with_tenants_need_a_tenant_field() -> None:
    """Such a key would otherwise find everyone's documents."""
    keys = Keys([ApiKey("a", HASH, "acme")])
    with pytest.raises(ConfigError, match="tenant_field"):
        check_exposure(ServeSpec(), keys)
    check_exposure(ServeSpec(tenant_field="owner"), keys)


def test_json_and_lines_say_the_same() -> None:
    """Either format."""
    values = {"name": "a", "sha256": HASH, "tenant": "x", "expires": None}
    assert _read(json.dumps(values))._keys == _read(f"name=a sha256={HASH} tenant=x")._keys
