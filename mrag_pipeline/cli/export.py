"""`mrag export`: one version as a folder of Parquet."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Version,
    settings_of,
)
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import chosen_record


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
    from mrag_pipeline.stages.versions.export import export_version

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        record = chosen_record(opened, version)
        place = wiring.export(folder)
        chunks = flow_runs.run_plain(lambda told: export_version(record, opened, place, told), json)
    if json:
        print_json({"version": record.version, "chunks": chunks, "folder": folder})
        return
    out.print(f"{record.version}: {chunks:,} chunks in {folder}", highlight=False)
