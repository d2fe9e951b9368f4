"""`mrag activate`: one version made live."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    settings_of,
)
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.config import Config


def activate(
    version: Annotated[str, typer.Argument(help="As `mrag versions` lists it.")],
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Make a version live: one atomic flip, forward or back.

    Example: mrag activate v0123456789ab
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.ingest.publish import activate as activate_stage

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        before = opened.live()
        record = activate_stage(version, opened)
    if json:
        print_json({"live": record.version, "before": before})
        return
    out.print(f"{record.version} is live; before: {before or 'none'}", highlight=False)
