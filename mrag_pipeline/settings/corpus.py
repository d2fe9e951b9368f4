"""`[corpus]`: where documents are, and which of their fields is what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mrag_pipeline.settings.bounds import PositiveAmount

CorpusFormat = Literal["auto", "parquet", "jsonl", "json", "csv", "text", "pydoc"]
FORMATS: tuple[str, ...] = get_args(CorpusFormat)

ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """Where documents are and which of their fields is what.

    `uri` is a file, a folder (read recursively, in the order of the names; names that start
    with a dot and symbolic links to folders are left out), a glob (`data/**/*.jsonl`), a
    pyarrow filesystem URI of one of these (`s3://bucket/docs`, `gs://`, `file:///`), or
    `pydoc:` for the documentation of Python's standard library (`pydoc:gzip,csv`: of these
    modules and their submodules).

    An empty field name is guessed from the usual ones; `describe()` tells what was guessed.
    Without an id field a document's id is the hash of what is stored of it (see
    docs/decisions/0003-document-ids.md); a text file's id is its path, a pydoc page's its
    qualified name.

    `metadata_fields` ("*",) keeps every other string, number and boolean of at most
    `MAX_GUESSED_CHARS` characters; fields named here are kept whatever their length, lists
    and objects among them as JSON text; () keeps none.
    """

    uri: str
    format: CorpusFormat = "auto"  # auto: by the files' names
    id_field: str = ""
    title_field: str = ""
    text_field: str = ""
    metadata_fields: tuple[str, ...] = ALL_FIELDS
    include: tuple[str, ...] = ()  # globs over paths in the folder; none: by the format
    max_document_mb: PositiveAmount = 10.0  # a larger one is a dead letter; bounds the memory

    @property
    def max_document_bytes(self) -> int:
        """The largest document, in bytes."""
        return max(1, int(self.max_document_mb * 1_000_000))


MAX_GUESSED_CHARS = 1_000  # a value in metadata ("*",): longer ones are texts, not facts
