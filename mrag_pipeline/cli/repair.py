"""`mrag repair`: fixes what an audit finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import err, print_facts, print_json
from mrag_pipeline.errors import DamageFound


@shared_options()
def repair(shared: SharedOptions, version: Version = None) -> None:
    """Fix what `mrag audit` finds, from staging where possible; nothing is embedded.

    A document that cannot be made whole is removed; `mrag sync` adds it again.

    Example: mrag repair
    """
    shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline.flows.repair import repair as repair_flow

        return partial(repair_flow, *shared.for_flow(), version)

    try:
        _show(run_flow(prepare, shared.json), shared.json)
    except DamageFound as left:
        _show(left.result, shared.json)
        if not shared.json:
            err.print(left.found, soft_wrap=True)
        raise typer.Exit(left.exit_code) from None


def _show(result: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    removed = f"{result['removed_documents']:,} removed: they could not be made whole"
    counted = "counted anew: its counts or sums were wrong" if result["recounted"] else "as it was"
    print_facts(
        {
            "version": result["version"],
            "rows": f"{result['restored_rows']:,} restored, {result['removed_rows']:,} removed",
            "documents": removed if result["removed_documents"] else "none removed",
            "record": "made anew from staging" if result["record_made_anew"] else counted,
            **({"live": "made live again"} if result["made_live_again"] else {}),
        }
    )
