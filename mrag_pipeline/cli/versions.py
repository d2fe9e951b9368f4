"""`mrag versions`: which versions exist, and which is live."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from rich.table import Table

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json
from mrag_pipeline.domain.version import version_in


@shared_options()
def versions(shared: SharedOptions) -> None:
    """List the versions: which is live, and what `mrag retire` would do with the others.

    Example: mrag versions
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.domain.retirement import version_states

    config = shared.load()
    with closing(wiring.index(config)) as index:
        records, live = index.records(), index.live()
        with_collections = {version_in(config.index, name) for name in index.collections()}
    states = version_states(records, live, datetime.now(UTC), config.retire)
    rows = [
        {
            "version": record.version,
            "state": states[record.version],
            "documents": record.num_documents,
            "chunks": record.num_chunks,
            "syncs": record.syncs,
            "sync_unfinished": bool(record.pending),
            "created_at": record.created_at,
            "synced_at": record.synced_at,
            "published_at": record.published_at,
            "replaced_at": record.replaced_at,
        }
        for record in records
    ]
    # Left by a killed build: `mrag ingest` resumes it, `mrag retire VERSION` drops it.
    with_records = {record.version for record in records}
    unfinished = sorted(with_collections - with_records - {None}, key=str)
    if shared.json:
        facts = {"index": config.index, "live": live, "versions": rows}
        print_json(facts | {"unfinished": unfinished})
        return
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(
            line(("bold", str(row["version"]))),
            line(("green" if row["state"] == "live" else "", str(row["state"]))),
            f"{row['documents']:,} documents",
            f"{row['syncs']} syncs" + (", one unfinished" if row["sync_unfinished"] else ""),
            str(row["created_at"])[:16],
        )
    for version in unfinished:
        table.add_row(line(("bold", str(version))), "unfinished build", "", "", "")
    out.print(table if table.row_count else "no version yet: `mrag ingest` builds one")
