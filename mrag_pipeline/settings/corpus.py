"""`[corpus]`: where documents are, and what their fields mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mrag_pipeline.settings.bounds import PositiveAmount

FieldType = Literal["text", "number", "boolean", "date"]

AUTO = "auto"
ALL_FIELDS = ("*",)
# The longest value that metadata ALL_FIELDS keeps: longer ones are texts, not facts.
MAX_INFERRED_CHARS = 1_000


ALL_KINDS = "all"
TABLE_FORMATS = ("delta", "iceberg")
SQL_DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle")

_CAME_LATER = (
    *("types", "exclude", "encoding", "max_document_s", "follow_links"),
    *("query", "updated_field", "id_prefix", "sources", "snapshot"),
)


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """Where documents are and what their fields mean.

    `uri` is a file, a folder (read recursively, in the order of the names; names that start
    with a dot and symbolic links to folders are skipped), a glob (`data/**/*.jsonl`), a
    pyarrow filesystem URI of one of these (`s3://bucket/docs`, `gs://`, `file:///`), a data set
    of the Hugging Face hub (`hf://datasets/user/name`), the `https://` URL of one file, or
    `pydoc:` for the documentation of Python's standard library (`pydoc:gzip,csv`: of these
    modules and their submodules).

    An empty field name is inferred from the usual ones; `describe()` reports what was inferred.

    `uri` may also be a Delta or Iceberg table: its folder, or `iceberg:CATALOG/NAMESPACE.TABLE`.

    `uri` may also be SQLAlchemy's URL of a database; then `query` is a table of it or a SELECT.

    `sources` are corpora that are read as one, as `[[corpus]]` lists them; then nothing else here
    is read, and `uri` names theirs, for people.

    `format` "all" reads the files of every format. Otherwise it is "delta", "iceberg" or a row of
    `corpus/formats/registry.py`, checked when the corpus is opened.

    Without an id field, a document's id is the hash of its stored content (see
    docs/decisions/0003-document-ids.md); a text file's id is its path, a pydoc page's its
    qualified name.

    `metadata_fields` ("*",) keeps every other value of at most `MAX_INFERRED_CHARS` characters,
    lists and objects among them; fields named here are kept whatever their length; () keeps
    none.

    `types` says what the values of a metadata field are; the others are kept as the file has
    them, but a column of a CSV file becomes numbers, or true and false, if all its values are.
    """

    uri: str
    format: str = AUTO  # auto: by the file names
    id_field: str = ""
    title_field: str = ""
    text_field: str = ""
    metadata_fields: tuple[str, ...] = ALL_FIELDS
    types: Mapping[str, FieldType] = field(default_factory=dict)  # of metadata fields, by name
    include: tuple[str, ...] = ()  # globs over paths in the folder; empty: by the format
    exclude: tuple[str, ...] = ()  # globs as in `include`; what they match is not read
    follow_links: bool = False  # also to files outside the folder
    encoding: str = ""  # of files that are not UTF-8, as the web names it; "" detects
    query: str = ""  # of a database: a table, or a SELECT
    updated_field: str = ""  # of a database: the column that changes whenever its row does
    snapshot: str = ""  # of a Delta or Iceberg table: its version or snapshot; "": the newest
    id_prefix: str = ""  # put before the ids of a corpus's documents, one of several
    sources: tuple[CorpusSpec, ...] = ()  # what `[[corpus]]` lists, where it stands several times
    max_document_mb: PositiveAmount = 10.0  # larger ones are dead letters; bounds the memory
    max_document_s: PositiveAmount = 10.0  # CPU seconds that reading a document's markup may take

    def identity(self) -> dict[str, Any]:
        """What decides which documents are read, as plain values.

        A setting that came later counts only if it is set: versions keep their names.
        """
        unset = asdict(CorpusSpec(self.uri))
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _CAME_LATER or value != unset[name]
        }

    @property
    def is_database(self) -> bool:
        """Whether the uri is that of a database."""
        scheme, found, _ = self.uri.partition("://")
        return bool(found) and scheme.partition("+")[0] in SQL_DIALECTS

    @property
    def max_document_bytes(self) -> int:
        """The largest document, in bytes."""
        return max(1, int(self.max_document_mb * 1_000_000))
