"""`mrag retire`: drops versions that have been replaced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, Wait, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json


@shared_options()
def retire(
    shared: SharedOptions,
    version: Annotated[
        str | None,
        typer.Argument(help="Drop this version now; all past the grace period if not given."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=0, help="How many replaced versions to keep; retire.keep if not given."
        ),
    ] = None,
    wait: Wait = 0.0,
) -> None:
    """Drop versions that were replaced longer ago than the grace period; never the live one.

    Examples:
        mrag retire --keep 2
        mrag retire v0123456789ab
    """
    shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline.flows.retire import retire as retire_flow

        return partial(retire_flow, *shared.for_flow(), keep, version, wait)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    for name, fate in result["fates"].items():
        out.print(line(("bold", name), f" {'dropped' if fate == 'drop' else fate}"))
