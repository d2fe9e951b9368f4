"""`mrag versions`: which versions there are, and which is live."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from rich.table import Table

from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import version_in


def versions(
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """List the versions: which is live, and what `mrag retire` would do with the others.

    Example: mrag versions
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.domain.retirement import fates

    resolved = Config.load(config, settings_of(settings, index))
    with closing(wiring.index(resolved)) as opened:
        records, live = opened.records(), opened.live()
        named = {version_in(resolved.index, name) for name in opened.collections()}
    found = fates(records, live, datetime.now(UTC), resolved.retire)
    rows = [
        {
            "version": one.version,
            "state": found[one.version],
            "documents": one.num_documents,
            "chunks": one.num_chunks,
            "syncs": one.syncs,
            "sync_unfinished": bool(one.pending),
            "created_at": one.created_at,
            "synced_at": one.synced_at,
            "published_at": one.published_at,
            "replaced_at": one.replaced_at,
        }
        for one in records
    ]
    # What a killed build left: `mrag ingest` goes on with it, `mrag retire VERSION` drops it.
    unfinished = sorted(named - {one.version for one in records} - {None}, key=str)
    if json:
        facts = {"index": resolved.index, "live": live, "versions": rows}
        print_json(facts | {"unfinished": unfinished})
        return
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(
            f"[bold]{row['version']}[/]",
            f"[green]{row['state']}[/]" if row["state"] == "live" else str(row["state"]),
            f"{row['documents']:,} documents",
            f"{row['syncs']} syncs" + (", one unfinished" if row["sync_unfinished"] else ""),
            str(row["created_at"])[:16],
        )
    for version in unfinished:
        table.add_row(f"[bold]{version}[/]", "unfinished build", "", "", "")
    out.print(
        table if table.row_count else "no version yet: `mrag ingest` builds one", highlight=False
    )
