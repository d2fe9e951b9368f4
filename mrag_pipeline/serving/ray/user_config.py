"""Settings that can change while the service runs: each deployment's `user_config`.

    QueryEncoder  max_batch, batch_wait_ms
    HeadSearch    version (a pin; null follows the alias), head_timeout_s, max_batch, batch_wait_ms
    QueryApi      timeout_s and the limits of one request and of one key

A setting that it leaves out has its value from the config file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

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
_SETTINGS = {
    name: TypeAdapter[Any](hint)
    for name, hint in get_type_hints(ServeSpec, include_extras=True).items()
}


def changed(
    spec: ServeSpec, user_config: Mapping[str, Any] | None, keys: tuple[str, ...]
) -> ServeSpec:
    """The spec with the values that the user_config has for these keys; `version` is not in it.

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
    return replace(
        spec, **{key: _checked(key, value) for key, value in given.items() if value is not None}
    )


def pinned(user_config: Mapping[str, Any] | None) -> str | None:
    """The version to search, None for the live one.

    Raises: ConfigError if it is not a name.
    """
    version = (user_config or {}).get("version")
    if version is not None and not isinstance(version, str):
        raise ConfigError(f"version = {version!r} in user_config", "a version's name, or null")
    return version or None


def _checked(key: str, value: Any) -> Any:
    """The value as its type and bounds in ServeSpec allow it; text is not taken for a number."""
    try:
        return _SETTINGS[key].validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(
            f"{key} = {value!r} in user_config",
            error.errors()[0]["msg"],
            f"correct `{key}` in the deployment's user_config",
        ) from None
