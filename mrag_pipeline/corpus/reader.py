"""Opens the reader that a corpus needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrag_pipeline.corpus.file_corpus import FileCorpus
from mrag_pipeline.corpus.formats.charset import codec_of
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
    _check_patterns(spec)
    if spec.encoding and not codec_of(spec.encoding):
        raise ConfigError(
            f"corpus.encoding = {spec.encoding!r}",
            "the name of an encoding, such as windows-1252, shift_jis, gb18030",
            "correct it, or remove it to detect the encoding",
        )
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


def _check_patterns(spec: CorpusSpec) -> None:
    for setting, patterns in (("include", spec.include), ("exclude", spec.exclude)):
        for pattern in patterns:
            if pattern.startswith("!"):
                other = "exclude" if setting == "include" else "include"
                raise ConfigError(
                    f"corpus.{setting} has the negated pattern {pattern!r}",
                    "patterns of the files that are meant",
                    f"put {pattern[1:]!r} into corpus.{other}",
                )
