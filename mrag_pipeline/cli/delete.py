"""`mrag delete`: removes documents from the live version by their ids."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, Wait, shared_options
from mrag_pipeline.cli.upsert import STDIN, Key, run_push
from mrag_pipeline.errors import ConfigError


@shared_options()
def delete(
    shared: SharedOptions,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="Ids of documents; - reads them from standard input, one a line."
        ),
    ],
    key: Key = "",
    wait: Wait = 0.0,
) -> None:
    """Remove documents from the live version; ids that it does not have are counted.

    Examples:
        mrag delete a7 a8
        cut -f1 gone.tsv | mrag delete - --key message-1043
    """
    if ids == [STDIN]:
        ids = [line for line in map(str.strip, sys.stdin) if line]
    if not ids:
        raise ConfigError("no ids on standard input", "one a line", "name the ids to delete")
    run_push(shared, key, wait, deleted=ids)
