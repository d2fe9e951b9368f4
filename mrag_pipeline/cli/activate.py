"""`mrag activate`: makes a version live."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import out, print_json


@shared_options()
def activate(
    shared: SharedOptions,
    version: Annotated[str, typer.Argument(help="Name of a version, as in `mrag versions`.")],
) -> None:
    """Make a version live, newer or older: one atomic switch.

    Example: mrag activate v0123456789ab
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.ingest.publish import activate as activate_stage
    from mrag_pipeline.wiring import at_work

    config = shared.load()
    with at_work.run_lock(config), closing(wiring.index(config)) as index:
        before = index.live()
        record = activate_stage(version, index)
    if shared.json:
        print_json({"live": record.version, "before": before})
        return
    out.print(f"{record.version} is live; before: {before or 'none'}")
