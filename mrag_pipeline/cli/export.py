"""`mrag export`: writes a version as a folder of Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
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
    shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline import wiring
        from mrag_pipeline.flows.export import export as export_flow

        wiring.export(folder)  # a wrong URI, which may hold a password, is recorded nowhere
        return partial(export_flow, folder, *shared.for_flow(), version)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    out.print(f"{result['version']}: {result['chunks']:,} chunks in {folder}")
