"""`mrag import`: an exported version loaded."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    settings_of,
)
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord


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
    from mrag_pipeline.stages.versions.import_version import import_version as import_stage
    from mrag_pipeline.stages.versions.import_version import read_export

    resolved = Config.load(config, settings_of(settings, index))
    place = wiring.export(folder)
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:

        def work(told: Any) -> VersionRecord:
            record = import_stage(place, resolved.index, opened, told)
            _, manifest = read_export(place, resolved.index)
            verify(manifest, place.staging, opened, record.num_chunks, resolved.ingest, told)
            return activate_stage(record.version, opened) if activate else record

        record = flow_runs.run_plain(work, json)
        live = opened.live()
    if json:
        print_json({"version": record.version, "chunks": record.num_chunks, "live": live})
        return
    told = "live" if live == record.version else f"not live: `mrag activate {record.version}`"
    out.print(f"{record.version}: {record.num_chunks:,} chunks, {told}", highlight=False)
