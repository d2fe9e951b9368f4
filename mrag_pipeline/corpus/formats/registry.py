"""The corpus formats that exist, a row each.

A new format of files is one file beside this one, with an opener, and one row of FILE_FORMATS.
The rows are in the order in which messages list them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from mrag_pipeline.corpus.formats.arrow_ipc import ArrowFiles
from mrag_pipeline.corpus.formats.delimited import open_delimited
from mrag_pipeline.corpus.formats.extraction import DOCUMENTS, MARKUP, PLAIN
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.jsonl import open_json
from mrag_pipeline.corpus.formats.parquet import ParquetFiles
from mrag_pipeline.corpus.formats.pydoc_pages import open_python_docs
from mrag_pipeline.corpus.formats.record_format import RecordFormat
from mrag_pipeline.corpus.formats.text_files import open_text
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import ALL_KINDS, AUTO, TABLE_FORMATS, CorpusSpec


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format of files."""

    suffixes: tuple[str, ...]  # lower case; those of compressions are not part of them
    open: Callable[[FileRequest], RecordFormat]  # may look into the file
    is_untyped: bool = False  # every value is a string: the types of columns are found out
    is_prose: bool = False  # left out where there are files of data: a README is not the corpus


@dataclass(frozen=True, slots=True)
class GeneratedCorpus:
    """A corpus that is made by code and chosen by the scheme of its URI."""

    scheme: str  # without the colon
    open: Callable[[CorpusSpec], CorpusReader]


FILE_FORMATS: dict[str, FileFormat] = {
    "parquet": FileFormat((".parquet", ".pq", ".parq"), ParquetFiles.of),
    "arrow": FileFormat((".arrow", ".feather", ".arrows"), ArrowFiles.of),
    "jsonl": FileFormat((".jsonl", ".ndjson", ".jsonlines"), open_json),
    "json": FileFormat((".json",), open_json),
    "csv": FileFormat((".csv", ".tsv"), open_delimited, is_untyped=True),
    "text": FileFormat((*PLAIN, *MARKUP, *DOCUMENTS), open_text, is_prose=True),
}
GENERATED: dict[str, GeneratedCorpus] = {
    "pydoc": GeneratedCorpus("pydoc", open_python_docs),
}


def format_names() -> tuple[str, ...]:
    """What `corpus.format` may be."""
    return (AUTO, ALL_KINDS, *FILE_FORMATS, *TABLE_FORMATS, *GENERATED)


def format_by_suffix(suffix: str) -> str:
    """The name of the format whose files end in the suffix; "" if there is none."""
    return next((name for name, row in FILE_FORMATS.items() if suffix in row.suffixes), "")


def known_suffixes() -> tuple[str, ...]:
    """The suffixes of all formats."""
    return tuple(suffix for row in FILE_FORMATS.values() for suffix in row.suffixes)


def check_format(name: str) -> None:
    """Refuses a name that no row has.

    Raises: ConfigError.
    """
    names = format_names()
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    raise ConfigError(
        f"corpus.format = {name!r}",
        f"one of {', '.join(names)}",
        f"did you mean {near[0]!r}?" if near else "correct `corpus.format` in the config",
    )
