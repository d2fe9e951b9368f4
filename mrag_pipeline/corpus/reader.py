"""Opens the reader that a corpus needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrag_pipeline.corpus.file_corpus import FileCorpus
from mrag_pipeline.corpus.formats.registry import GENERATED, check_format
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import AUTO, CorpusSpec


def open_corpus(spec: CorpusSpec, reading: Mapping[str, Any] | None = None) -> CorpusReader:
    """The reader for a corpus; nothing is read until it is used.

    Args:
        reading: what a reader's `reading()` returned when the version was planned; None finds it
            out.
    Raises: ConfigError for an unknown format, or a URI that cannot be opened;
        FingerprintMismatch if the spec contradicts the reading.
    """
    check_format(spec.format)
    if not spec.uri.strip():
        raise ConfigError("the corpus has no uri", "a path, a URI, or pydoc:", "set corpus.uri")
    scheme = spec.uri.partition(":")[0]
    for name, generated in GENERATED.items():
        if spec.format == name and scheme != generated.scheme:
            raise ConfigError(
                f"corpus {spec.uri!r} with format {name}",
                f"uri {generated.scheme}: or {generated.scheme}:a,b",
                "correct `corpus.uri`, or remove `corpus.format`",
            )
        if spec.format in (name, AUTO) and scheme == generated.scheme:
            return generated.open(spec)
    return FileCorpus(spec, reading)
