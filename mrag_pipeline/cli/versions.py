"""`mrag versions`, `activate`, `retire`, `audit`, `repair`, `export`, `import`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, Wait, settings_of
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord, version_in
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import VectorIndex

Version = Annotated[
    str | None, typer.Option("--version", help="A version's name; the live one if not given.")
]


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


def activate(
    version: Annotated[str, typer.Argument(help="As `mrag versions` lists it.")],
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Make a version live: one atomic flip, forward or back.

    Example: mrag activate v0123456789ab
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.ingest.publish import activate as activate_stage

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        before = opened.live()
        record = activate_stage(version, opened)
    if json:
        print_json({"live": record.version, "before": before})
        return
    out.print(f"{record.version} is live; before: {before or 'none'}", highlight=False)


def retire(
    version: Annotated[
        str | None, typer.Argument(help="Drop this one now; past their grace if not given.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Replaced versions that stay.")
    ] = None,
    wait: Wait = 0.0,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Drop versions that have been replaced for longer than the grace period; never the live one.

    Examples:
        mrag retire --keep 2
        mrag retire v0123456789ab
    """
    flow_runs.announce("Prefect")
    from mrag_pipeline.flows.retire import retire as flow

    values = settings_of(settings, index)
    file = str(config.absolute()) if config else None
    result: dict[str, Any] = flow_runs.run(lambda: flow(file, values, keep, version, wait), json)
    if json:
        print_json(result)
        return
    for name, fate in result["fates"].items():
        out.print(f"[bold]{name}[/] {'dropped' if fate == 'drop' else fate}", highlight=False)


def audit(
    version: Version = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Check every row: each chunk in every head, vectors, counts, importance, staged files.

    Exit code 6 if anything is found.

    Example: mrag audit
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.audit import audit as audit_stage

    resolved = Config.load(config, settings_of(settings, index))
    with closing(wiring.index(resolved)) as opened:
        record = _record(opened, version)
        staged = wiring.staged_version(resolved, record)
        found = flow_runs.run_plain(lambda told: audit_stage(record, staged, opened, told), json)
    if json:
        print_json(asdict(found))
    else:
        shards = f", {found.staged_shards} staged shards" if staged else "; no staging here"
        out.print(
            f"{found.version}: {found.chunks:,} chunks in {found.collections} collections{shards}",
            highlight=False,
        )
        for finding in found.findings:
            out.print(f"[red]{finding}", highlight=False, soft_wrap=True)
        if not found.findings:
            out.print("[green]nothing found", highlight=False)
    if found.findings:
        if not json:
            err.print("to mend: `mrag repair`", highlight=False)
        raise typer.Exit(6)


def repair(
    version: Version = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Put right what `mrag audit` finds: from staging, without embedding, where it can be.

    A document that cannot be made whole is taken out; `mrag sync` brings it back.

    Example: mrag repair
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.repair import repair as repair_stage

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        record = _record(opened, version)
        staged = wiring.staged_version(resolved, record)
        done = flow_runs.run_plain(lambda told: repair_stage(record, staged, opened, told), json)
    facts = {
        "version": record.version,
        "restored_rows": done.restored,
        "removed_rows": done.removed,
        "removed_documents": done.documents_removed,
        "recounted": done.recounted,
    }
    if json:
        print_json(facts)
    else:
        flow_runs.facts(facts)


def export(
    folder: Annotated[str, typer.Argument(help="Where to: a path or any filesystem's URI.")],
    version: Version = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Write one version as a folder of Parquet: chunks, heads, record. Run it again to go on.

    Example: mrag export s3://backups/docs
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.transfer import export as export_stage

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        record = _record(opened, version)
        place = wiring.export(folder)
        chunks = flow_runs.run_plain(lambda told: export_stage(record, opened, place, told), json)
    if json:
        print_json({"version": record.version, "chunks": chunks, "folder": folder})
        return
    out.print(f"{record.version}: {chunks:,} chunks in {folder}", highlight=False)


def import_version(
    folder: Annotated[str, typer.Argument(help="What `mrag export` wrote.")],
    activate: Annotated[bool, typer.Option("--activate", help="And make it live.")] = False,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Load an exported version into this index, with no model: from Lite to a server, or between.

    Example: mrag import backups/docs --activate -s milvus.uri=http://localhost:19530
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.ingest.publish import activate as activate_stage
    from mrag_pipeline.stages.ingest.verify import verify
    from mrag_pipeline.stages.versions.transfer import bring_in, exported

    resolved = Config.load(config, settings_of(settings, index))
    place = wiring.export(folder)
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:

        def work(told: Any) -> VersionRecord:
            record = bring_in(place, resolved.index, opened, told)
            _, manifest = exported(place, resolved.index)
            verify(manifest, place.staging, opened, record.num_chunks, resolved.ingest, told)
            return activate_stage(record.version, opened) if activate else record

        record = flow_runs.run_plain(work, json)
        live = opened.live()
    if json:
        print_json({"version": record.version, "chunks": record.num_chunks, "live": live})
        return
    told = "live" if live == record.version else f"not live: `mrag activate {record.version}`"
    out.print(f"{record.version}: {record.num_chunks:,} chunks, {told}", highlight=False)


def _record(index: VectorIndex, version: str | None) -> VersionRecord:
    from mrag_pipeline.stages.sync.apply import live_record

    if version is None:
        return live_record(index)
    record = index.record(version)
    if record is None:
        known = ", ".join(one.version for one in index.records()) or "none yet"
        raise PlanRefused(f"no version {version}", f"one of: {known}", "see `mrag versions`")
    return replace(record)
