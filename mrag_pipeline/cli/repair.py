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

# Of what the flow returns, what people are shown.
_SHOWN = (
    *("version", "restored_rows", "removed_rows", "removed_documents", "recounted"),
    *("record_made_anew", "made_live_again"),
)


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
    else:
        print_facts({name: result[name] for name in _SHOWN})
