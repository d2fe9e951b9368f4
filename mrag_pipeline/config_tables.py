"""The tables of a config before they are checked: lists of corpora, pins, and local paths.

What a command line names takes the place of what the file says of the same thing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SQLITE = re.compile(r"sqlite(\+\w+)?:///.")
_PINS = ("revision", "weights_sha256")
_LOCAL_PATHS = (
    *(("corpus", "uri"), ("encoder", "model"), ("staging", "uri"), ("milvus", "uri")),
    *(("gate", "queries"), ("serve", "request_log"), ("milvus", "bulk_uri")),
    *(("notify", "metrics_folder"), ("serve", "log_streams")),
    *(("milvus", "tls_ca"), ("milvus", "tls_cert"), ("milvus", "tls_key"), ("rerank", "model")),
)


def listed_corpora(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with a list of corpora (`[[corpus]]`) as one corpus of several sources."""
    corpus = values.get("corpus")
    sources = corpus.get("sources") if isinstance(corpus, Mapping) else corpus
    if not isinstance(sources, list) or not all(isinstance(one, Mapping) for one in sources):
        return dict(values)
    if len(sources) == 1:
        return {**values, "corpus": sources[0]}
    uri = ", ".join(str(source.get("uri", "")) for source in sources)
    return {**values, "corpus": {"uri": uri, "sources": sources}} if sources else dict(values)


def without_sources(values: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values without its list of corpora, if the command line names a corpus."""
    corpus, override = values.get("corpus"), over.get("corpus")
    if isinstance(corpus, Mapping) and isinstance(override, Mapping) and "uri" in override:
        corpus = {key: value for key, value in corpus.items() if key != "sources"}
        return values | {"corpus": corpus}
    return values


def without_pin(values: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values without its model's revision, if the command line names another model."""
    encoder, override = values.get("encoder"), over.get("encoder")
    if not isinstance(encoder, Mapping) or not isinstance(override, Mapping):
        return values
    if "model" not in override or override["model"] == encoder.get("model"):
        return values
    return values | {"encoder": {k: v for k, v in encoder.items() if k not in _PINS}}


def absolute(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values with absolute local paths, so that workers in other folders use the same ones."""
    result = dict(values)
    for section, key in _LOCAL_PATHS:
        table = result.get(section)
        if not isinstance(table, Mapping):
            continue
        if section == "corpus" and table.get("sources"):
            own = [absolute({"corpus": source}, folder)["corpus"] for source in table["sources"]]
            uri = ", ".join(source["uri"] for source in own)
            result["corpus"] = {**table, "uri": uri, "sources": own}
            continue
        text = table.get(key)
        if section == "corpus" and isinstance(text, str) and _SQLITE.match(text):
            path = os.path.normpath(folder / text.partition("///")[2])
            result[section] = {**table, key: f"{text.partition('///')[0]}///{path}"}
            continue
        if not isinstance(text, str) or not text or ":" in text.split("/")[0]:
            continue
        if section == "rerank" and table.get("url"):
            continue  # the model's name at that endpoint
        # A hub id looks like a relative path: it is a path only if that folder exists.
        if key == "model" and not (text.startswith((".", "~")) or (folder / text).exists()):
            continue
        result[section] = {**table, key: os.path.normpath(folder / Path(text).expanduser())}
    return result
