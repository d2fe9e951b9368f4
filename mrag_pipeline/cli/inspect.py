"""`mrag inspect`: shows one document of the live version."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import numpy as np
import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import ChunkRow, Rows
from mrag_pipeline.stages.versions.lookup import live_record


@shared_options()
def inspect(
    shared: SharedOptions,
    document_id: Annotated[str, typer.Argument(help="Id of the document.")],
) -> None:
    """Show one document of the live version: its chunks, and its rows in each head.

    Example: mrag inspect gzip.open
    """
    from mrag_pipeline import wiring

    config = shared.load()
    with closing(wiring.index(config)) as index:
        record = live_record(index)
        rows = index.chunks_of_document(record.chunks_collection(), document_id)
        if not rows:
            raise ConfigError(
                f"no document {document_id!r} in {record.version}",
                "the id of a document in the live version",
                "`mrag search --json` prints document ids",
            )
        chunks = [_chunk_facts(index, record, row) for row in rows]
    if shared.json:
        print_json({"document_id": document_id, "version": record.version, "chunks": chunks})
        return
    title = rows[0].title or document_id
    out.print(line(("bold", title), f" ({document_id}) in {record.version}"))
    for row, chunk in zip(rows, chunks, strict=True):
        norms = chunk["head_norms"]
        missing = [head for head, norm in norms.items() if norm is None]
        heads = f"missing in {', '.join(missing)}" if missing else f"in all {len(norms)} heads"
        out.rule(f"chunk {row.ordinal}: {row.id}, characters {row.start}-{row.end}, {heads}")
        out.print(row.text)
        present = [f"{head} {norm:.2f}" for head, norm in norms.items() if norm is not None]
        out.print(f"norms: {', '.join(present)}", style="dim")


def _chunk_facts(index: Rows, record: VersionRecord, row: ChunkRow) -> dict[str, Any]:
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
