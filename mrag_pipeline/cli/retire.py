"""`mrag retire`: versions past their grace period are dropped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Wait,
    settings_of,
)
from mrag_pipeline.cli.terminal import out, print_json


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
