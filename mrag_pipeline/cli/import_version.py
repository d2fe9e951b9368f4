"""`mrag import`: loads an exported version into an index."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.ingest import shown_recall
from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import out, print_json


@shared_options()
def import_version(
    shared: SharedOptions,
    folder: Annotated[str, typer.Argument(help="Folder that `mrag export` wrote.")],
    activate: Annotated[
        bool, typer.Option("--activate", help="Make the imported version live.")
    ] = False,
) -> None:
    """Load an exported version into this index; needs no model. Moves one from Lite to a server.

    Example: mrag import backups/docs --activate -s milvus.uri=http://localhost:19530
    """
    shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline import wiring
        from mrag_pipeline.flows.import_version import import_version as import_flow

        wiring.export(folder)  # a wrong URI, which may hold a password, is recorded nowhere
        return partial(import_flow, folder, *shared.for_flow(), activate)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    version, live = result["version"], result["live"]
    state = "live" if live == version else f"not live: `mrag activate {version}`"
    recall = f"{result['recall']:.4f}; {shown_recall(result)}"
    out.print(f"{version}: {result['chunks']:,} chunks, recall {recall}, {state}")
