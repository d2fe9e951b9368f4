"""`mrag status`: what is in the index."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json, size
from mrag_pipeline.domain.confidence import sure_of
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Rows


@shared_options()
def status(shared: SharedOptions) -> None:
    """Show the versions of an index: which is live, counts, recall, size, age.

    Examples:
        mrag status
        mrag status --index wiki --json
    """
    from mrag_pipeline import wiring

    config = shared.load()
    with closing(wiring.index(config)) as index:
        live = index.live()
        versions = [_version_facts(index, record, live) for record in index.records()]
        facts: dict[str, Any] = {
            "index": config.index,
            "where": index.describe(),
            "live": live,
            "size_bytes": index.size_bytes(),
            "versions": versions,
        }
    if shared.json:
        print_json(facts)
        return
    out.print(
        line("index ", ("bold", config.index), f" in {facts['where']}, {size(facts['size_bytes'])}")
    )
    if not versions:
        out.print("no version yet: build one with `mrag ingest`")
        return
    table = Table.grid(padding=(0, 2))
    for version in versions:
        mark = ("green", " live" if version["live"] else "")
        name = line(("bold", version["version"]), mark)
        table.add_row(name, f"{version['documents']:,} documents, {version['chunks']:,} chunks")
        table.add_row("", f"{version['model']}: {version['heads']} heads of {version['head_dim']}")
        table.add_row("", f"{version['corpus']}, {version['dead_letters']} dead letters")
        table.add_row("", f"built {version['created_at']}, {_age(version['created_at'])} ago")
        table.add_row("", _state(version))
    out.print(table)


def _state(version: dict[str, Any]) -> str | Text:
    if not version["whole"]:
        return line(("red", f"rows: {version['rows']}"))
    recall = version["recall"]
    above, confidence = version["recall_above"], version["recall_confidence"]
    searched = version["recall_searched"] or 1.0  # not recorded: all
    sure = f" ({sure_of(above, confidence, searched)})" if above and confidence else ""
    verified = "" if recall is None else f", recall {recall:.4f}{sure} when built"
    return f"every collection complete{verified}"


def _version_facts(index: Rows, record: VersionRecord, live: str | None) -> dict[str, Any]:
    names = record.collections()
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
        "recall": record.verified_recall(),
        "recall_above": record.recall_above(),
        "recall_confidence": record.recall_confidence(),
        "recall_searched": record.recall_searched(),
    }


def _age(created_at: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
