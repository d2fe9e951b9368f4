"""What is wrong with a config: keys that it does not have, and values of another kind."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

from pydantic import ValidationError

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.expectations import expected_value, key_of

_SECOND_MODELS = {
    "context_model",
    "document_model",
    "passage_model",
    "query_model",
    "question_model",
}


def check_keys(values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuses keys that the config does not have.

    Args:
        known: the type of each key at the top.
    Raises: ConfigError, with the nearest key that there is.
    """
    _check_table(values, known, "")
    sources = values.get("corpus", {}).get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(one, Mapping) for one in sources):
        raise ConfigError(f"corpus.sources = {sources!r}", "tables: [[corpus]] once for each")
    for number, source in enumerate(sources, 1):
        _check_table(source, get_type_hints(CorpusSpec), f"corpus[{number}].")
        if not source.get("uri"):
            found = f"[[corpus]] number {number} has no uri"
            raise ConfigError(found, "a path or URI", "set its uri")


def wrong_value(error: ValidationError) -> ConfigError:
    """The error for the first value that its key does not take."""
    first = error.errors()[0]
    key = key_of(first["loc"])
    return ConfigError(
        f"{key} = {first['input']!r}",
        expected_value(first["type"], first.get("ctx", {}), first["msg"], first["loc"]),
        f"change `{key}` in the config file or in --set (`mrag init` writes all defaults)",
    )


def _check_table(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    """Refuses keys that the table at `prefix` (`retrieve.`) has not, in tables within it too."""
    for key, value in values.items():
        if key not in known:
            raise _unknown_key(f"{prefix}{key}", key, known, prefix)
        if not dataclasses.is_dataclass(known[key]):
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{prefix}{key} = {value!r}", f"a table: [{prefix}{key}] with its keys below it"
            )
        assert isinstance(known[key], type)
        _check_table(value, get_type_hints(known[key]), f"{prefix}{key}.")


def _unknown_key(full_key: str, key: str, known: Iterable[str], prefix: str) -> ConfigError:
    if prefix == "encoder." and key in _SECOND_MODELS:
        return ConfigError(
            f"`{full_key}`: a second model, as of a pair such as DPR's",
            "one encoder for questions and passages: a head of one model and the head of that name "
            "in another have no space in common",
            "name one model in `encoder.model`; query_prefix and document_prefix tell it which is "
            "which (docs/decisions/0103-one-encoder-for-both-sides.md)",
        )
    near = difflib.get_close_matches(key, list(known), n=1)
    fix = f"did you mean `{prefix}{near[0]}`?" if near else "`mrag init` writes every key"
    return ConfigError(
        f"unknown key `{full_key}` in the config", f"one of {', '.join(sorted(known))}", fix
    )
