"""`mrag export`: writes a version as a folder of Parquet files."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from mrag_pipeline.cli.flow_runs import recorded, run_work
from mrag_pipeline.cli.guarded_pools import from_anywhere, guarded_pools
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.flows.phase_times import PhaseTimes


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

    config, clock = shared.load(), PhaseTimes()
    with (
        recorded(config, "export", clock.seconds, at_work.run_lock(config)) as run,
        closing(wiring.index(config)) as index,
    ):
        record = chosen_record(index, version)
        run.is_of(record)
        target = wiring.export(folder)
        pools = guarded_pools(config, partial(exporter, record, from_anywhere(folder)), index)
        work = partial(export_version, record, index, target, open_pool=pools)
        num_chunks = clock.time("export", lambda: run_work(work, shared.json))
    if shared.json:
        print_json({"version": record.version, "chunks": num_chunks, "folder": folder})
        return
    out.print(f"{record.version}: {num_chunks:,} chunks in {folder}")
