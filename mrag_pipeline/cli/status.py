"""`mrag status`, `mrag inspect`: what is in the index."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.terminal import out, print_json, size
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError, NoLiveVersion
from mrag_pipeline.ports import ChunkRow, VectorIndex


def status(
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Show the versions of an index: which is live, counts, size, age.

    Example: mrag status --json
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.config import Config

    resolved = Config.load(config, settings_of(settings, index))
    with closing(wiring.index(resolved)) as opened:
        live = opened.live()
        versions = [_version_facts(opened, record, live) for record in opened.records()]
        facts: dict[str, Any] = {
            "index": resolved.index,
            "where": opened.describe(),
            "live": live,
            "size_bytes": opened.size_bytes(),
            "versions": versions,
        }
    if json:
        print_json(facts)
        return
    out.print(
        f"index [bold]{resolved.index}[/] in {facts['where']}, {size(facts['size_bytes'])}",
        highlight=False,
    )
    if not versions:
        out.print("no version yet: build one with `mrag ingest`", highlight=False)
        return
    table = Table.grid(padding=(0, 2))
    for version in versions:
        name = f"[bold]{version['version']}[/]" + (" [green]live[/]" if version["live"] else "")
        table.add_row(name, f"{version['documents']:,} documents, {version['chunks']:,} chunks")
        table.add_row("", f"{version['model']}: {version['heads']} heads of {version['head_dim']}")
        table.add_row("", f"{version['corpus']}, {version['dead_letters']} dead letters")
        table.add_row("", f"built {version['created_at']}, {_age(version['created_at'])} ago")
        whole = "every collection whole" if version["whole"] else f"[red]rows: {version['rows']}"
        table.add_row("", whole)
    out.print(table, highlight=False)


def inspect(
    document_id: Annotated[str, typer.Argument(help="The document's id.")],
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Show one document of the live version: its chunks, and its rows in each head.

    Example: mrag inspect gzip.open
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.config import Config

    resolved = Config.load(config, settings_of(settings, index))
    with closing(wiring.index(resolved)) as opened:
        record = live_record(opened, resolved.index)
        rows = opened.chunks_of_document(record.chunks_collection(), document_id)
        if not rows:
            raise ConfigError(
                f"no document {document_id!r} in {record.version}",
                "the id of a document in the live version",
                "`mrag search --json` prints document ids",
            )
        chunks = [_chunk_facts(opened, record, row) for row in rows]
    if json:
        print_json({"document_id": document_id, "version": record.version, "chunks": chunks})
        return
    out.print(f"[bold]{rows[0].title or document_id}[/] ({document_id}) in {record.version}")
    for row, chunk in zip(rows, chunks, strict=True):
        norms = chunk["head_norms"]
        missing = [name for name, norm in norms.items() if norm is None]
        told = f"missing in {', '.join(missing)}" if missing else f"in all {len(norms)} heads"
        out.rule(f"chunk {row.ordinal}: {row.id}, characters {row.start}-{row.end}, {told}")
        out.print(row.text, highlight=False, markup=False)
        present = [f"{name} {norm:.2f}" for name, norm in norms.items() if norm is not None]
        out.print(f"[dim]norms: {', '.join(present)}", highlight=False)


def live_record(index: VectorIndex, name: str) -> VersionRecord:
    """The record of the live version.

    Raises: NoLiveVersion.
    """
    version = index.live()
    record = index.record(version) if version else None
    if record is None:
        raise NoLiveVersion(
            f"no live version of index {name!r} in {index.describe()}",
            "a version that `mrag ingest` has published",
            "run `mrag ingest`, or name another index with --index",
        )
    return record


def _version_facts(index: VectorIndex, record: VersionRecord, live: str | None) -> dict[str, Any]:
    names = (*record.head_collections(), record.chunks_collection())
    rows = [index.count(name) for name in names]
    return {
        "version": record.version,
        "live": record.version == live,
        "documents": record.num_documents,
        "chunks": record.num_chunks,
        "dead_letters": record.num_dead_letters,
        "heads": len(record.encoder.heads),
        "head_dim": record.encoder.head_dim,
        "model": record.encoder.spec.model,
        "created_at": record.created_at,
        "corpus": record.corpus,
        "rows": dict(zip(names, rows, strict=True)),
        "whole": set(rows) == {record.num_chunks},
    }


def _chunk_facts(index: VectorIndex, record: VersionRecord, row: ChunkRow) -> dict[str, Any]:
    norms: dict[str, float | None] = {}
    for head, name in zip(record.encoder.heads, record.head_collections(), strict=True):
        vector = index.vectors(name, [row.id]).get(row.id)
        norms[str(head)] = None if vector is None else float(np.linalg.norm(vector))
    return {
        "chunk_id": row.id,
        "ordinal": row.ordinal,
        "start": row.start,
        "end": row.end,
        "title": row.title,
        "text": row.text,
        "metadata": dict(row.metadata),
        "head_norms": norms,
    }


def _age(created_at: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
