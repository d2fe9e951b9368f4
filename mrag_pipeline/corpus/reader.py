"""Opens the reader that a corpus needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mrag_pipeline.corpus.file_corpus import FileCorpus
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.format_choice import formats_of
from mrag_pipeline.corpus.formats.charset import codec_of
from mrag_pipeline.corpus.formats.registry import GENERATED, check_format, format_by_suffix
from mrag_pipeline.corpus.several_corpora import SeveralCorpora
from mrag_pipeline.corpus.sql_rows import SqlRows
from mrag_pipeline.corpus.table_rows import TableRows, table_format
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import ALL_KINDS, AUTO, CorpusSpec


def open_corpus(spec: CorpusSpec, reading: Mapping[str, Any] | None = None) -> CorpusReader:
    """The reader for a corpus; nothing is read until it is used.

    Args:
        reading: what a reader's `reading()` returned when the version was planned; None finds it
            out.
    Raises: ConfigError for an unknown format, or a URI that cannot be opened;
        FingerprintMismatch if the spec contradicts the reading.
    """
    if spec.sources:
        return _several(spec, reading)
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
    if spec.is_database:
        return SqlRows(spec, reading)
    if table_format(spec):
        return TableRows(spec, reading)
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
    if spec.format == ALL_KINDS:
        return _every_kind(spec, reading)
    return FileCorpus(spec, reading)


def _several(spec: CorpusSpec, reading: Mapping[str, Any] | None) -> CorpusReader:
    """The corpora that `[[corpus]]` lists, named by their numbers."""
    sources = {str(number): source for number, source in enumerate(spec.sources, 1)}
    return SeveralCorpora(
        lambda: tuple(sources),
        lambda name, own: open_corpus(sources[name], own),
        reading,
        {name: source.id_prefix for name, source in sources.items()},
    )


def _every_kind(spec: CorpusSpec, reading: Mapping[str, Any] | None) -> CorpusReader:
    """All files that can be read, the fields of each format chosen by themselves."""
    by_name = replace(spec, format=AUTO)

    def left_out() -> Iterator[str]:
        chosen = FileTree(spec.uri, spec.exclude, spec.follow_links)
        for file in FileTree(spec.uri).files():
            if not format_by_suffix(file.suffix) or not chosen.selects(file.path, spec.include):
                yield file.path

    return SeveralCorpora(
        lambda: formats_of(by_name, FileTree(spec.uri, spec.exclude, spec.follow_links)),
        lambda name, own: FileCorpus(by_name, own, name),
        reading,
        left_out=left_out,
    )


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
