"""`mrag export`: writes a version as a folder of Parquet files."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from mrag_pipeline.cli.flow_runs import run_work
from mrag_pipeline.cli.guarded_pools import from_anywhere, guarded_pools
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import out, print_json


@shared_options()
def export(
    shared: SharedOptions,
    folder: Annotated[str, typer.Argument(help="Path or URI of the folder to write.")],
    version: Version = None,
) -> None:
    """Write one version as a folder of Parquet: chunks, heads, record. Run it again to resume.

    Example: mrag export s3://backups/docs
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.export import export_version
    from mrag_pipeline.stages.versions.lookup import chosen_record
    from mrag_pipeline.wiring import at_work
    from mrag_pipeline.wiring.phase_work import exporter

    config = shared.load()
    with at_work.run_lock(config), closing(wiring.index(config)) as index:
        record = chosen_record(index, version)
        target = wiring.export(folder)
        pools = guarded_pools(config, partial(exporter, record, from_anywhere(folder)), index)
        num_chunks = run_work(
            lambda progress: export_version(record, index, target, progress, pools), shared.json
        )
    if shared.json:
        print_json({"version": record.version, "chunks": num_chunks, "folder": folder})
        return
    out.print(f"{record.version}: {num_chunks:,} chunks in {folder}")
