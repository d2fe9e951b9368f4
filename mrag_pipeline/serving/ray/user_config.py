"""What can be changed while the service runs: each deployment's `user_config`.

    QueryEncoder  max_batch, batch_wait_ms
    HeadSearch    version (a pin; null follows the alias), head_timeout_s, max_batch, batch_wait_ms
    QueryApi      timeout_s and the limits of one request and of one key

What it leaves out is as the config file says.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.serve import ServeSpec

ENCODER = ("max_batch", "batch_wait_ms")
SEARCH = ("version", "head_timeout_s", "max_batch", "batch_wait_ms")
API = (
    "timeout_s",
    "max_k",
    "max_query_chars",
    "max_batch_queries",
    "max_body_kb",
    "max_context_tokens",
    "requests_per_minute",
    "concurrent_requests",
)
_SPEC = TypeAdapter(ServeSpec)


def changed(
    spec: ServeSpec, user_config: Mapping[str, Any] | None, keys: tuple[str, ...]
) -> ServeSpec:
    """The spec with what the user_config says of these keys; `version` is not the spec's.

    Raises: ConfigError for another key or a wrong value.
    """
    given = dict(user_config or {})
    for key in given:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            raise ConfigError(
                f"unknown key {key!r} in user_config",
                f"one of {', '.join(keys)}",
                f"did you mean {near[0]!r}?" if near else "",
            )
    given.pop("version", None)
    values = {key: value for key, value in given.items() if value is not None}
    for key, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (value > 0 or (key == "batch_wait_ms" and value == 0)):
            raise ConfigError(f"{key} = {value!r} in user_config", "a number above 0")
    try:
        return _SPEC.validate_python({**asdict(spec), **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{'.'.join(map(str, first['loc']))} = {first['input']!r} in user_config", first["msg"]
        ) from None


def pinned(user_config: Mapping[str, Any] | None) -> str | None:
    """The version that is to be asked, None for whatever is live.

    Raises: ConfigError if it is no name.
    """
    version = (user_config or {}).get("version")
    if version is not None and not isinstance(version, str):
        raise ConfigError(f"version = {version!r} in user_config", "a version's name, or null")
    return version or None
