"""The files of staging and export: columns and types from the schemas that write them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from docs.site.reference.markdown import code, table
from mrag_pipeline.domain import manifest, version
from mrag_pipeline.staging import deltas, exports, shards, tables

INTRO = """\
# Formats of staging and export

Everything that a run writes outside the index is Parquet or JSON in folders that anybody may read. What is stable:
an **export** (`mrag export`) is a contract, read by every later version of mrag; **staging** is `mrag`'s own: read it,
count on its columns within a version of mrag, but do not write it. A newer format is refused by name, unknown fields are
passed over ([decision 85](../decisions/0085-formats-that-outlive-a-version.md)). This page is made from the schemas that write
the files.
"""
# What each column holds; a column without a meaning stops the build.
MEANINGS: Mapping[str, str] = {
    "chunk_id": "identifies the chunk in every file and collection",
    "document_id": "the document's id",
    "ordinal": "the chunk's place in its document, from 0",
    "start": "the chunk's first character in the document's text",
    "end": "the character after its last one",
    "title": "the document's title, perhaps empty",
    "text": "the chunk's text, an exact span of its document; in a sync's documents the whole text",
    "metadata": "JSON object",
    "fingerprint": "of the document: changes with its title, text or metadata",
    "vector": "the embedding: the standard one with the chunks, a head's in the head's file",
    "source": "file and place that the document was read from",
    "num_chunks": "chunks of the document, or of the sums",
    "reason": "why the document was set aside",
    "text_hash": "SHA-256 of the text, where it could be read",
    "num_documents": "documents that the dead letter stands for",
    "shard": "the shard whose document was left out",
    "head": "layer and head, as in `l05_h07`",
    "norm_sum": "sum of the norms of the head's vectors",
    "unit_sum": "sum of the head's unit vectors",
}
FILES = (
    (
        "chunks-*.parquet",
        tables.CHUNKS,
        "The chunks of a shard; of a large one that a server imports, with their `proof` as a last "
        "column.",
    ),
    ("heads/l05_h07-*.parquet", None, "One head's vectors, a file for each head."),
    ("documents-*.parquet", tables.DOCUMENTS, "The documents of a shard."),
    ("dead_letters-*.parquet", tables.DEAD_LETTERS, "What was set aside; also in `dead_letters/`."),
    ("importance-*.parquet", tables.IMPORTANCE, "The sums that importance is computed from."),
    ("duplicates.parquet", tables.DUPLICATES, "Documents left out: another had the id first."),
    ("corpus/*.parquet", deltas.CORPUS, "Of a sync: the documents to embed."),
    ("removed.parquet", deltas.REMOVED, "Of a sync: chunks to remove; many are in `removed/`."),
)
RECORDS = (
    ("manifest.json", manifest.Manifest),
    ("receipt.json", manifest.Receipt),
    ("record.json", version.VersionRecord),
)


def page() -> str:
    """The page: folders, then a table for each file."""
    parts = [INTRO, "## Folders\n"]
    for title, module in (
        ("A version's shards", shards),
        ("A sync", deltas),
        ("An export", exports),
    ):
        parts.append(f"{title}:\n\n```text\n{_tree(module)}\n```\n")
    for name, schema, meaning in FILES:
        parts += [f"## {name}\n", f"{meaning}\n", table(("column", "type", ""), columns(schema))]
    for name, record in RECORDS:
        parts += [f"## {name}\n", _doc(record), table(("field", "type", ""), _fields(record))]
    return "\n".join(parts)


def columns(schema: pa.Schema | None) -> list[tuple[str, str, str]]:
    """Each column with its type and meaning; None: those of a head's file.

    Raises: KeyError for a column without a meaning.
    """
    schema = (
        schema or tables.head_table(np.array([1]), np.ones((1, 2), np.float32), "float32").schema
    )
    return [(code(field.name), code(str(field.type)), MEANINGS[field.name]) for field in schema]


def _fields(record: type) -> Iterator[tuple[str, str, str]]:
    source = inspect.getsource(record)
    for field in dataclasses.fields(record):
        comment = re.search(rf"^    {field.name}: .*?  # (.*)$", source, re.MULTILINE)
        yield code(field.name), code(str(field.type)), comment[1] if comment else ""


def _doc(record: type) -> str:
    return f"{inspect.getdoc(record)}\n"


def _tree(module: object) -> str:
    """The drawing of folders in a module's docstring."""
    lines = (inspect.getdoc(module) or "").splitlines()
    first = next(number for number, line in enumerate(lines) if "{uri}" in line)
    return textwrap.dedent("\n".join(_until_blank(lines[first:])))


def _until_blank(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip():
            return
        yield line
