"""One command on a real Milvus Lite in a process of its own, killed with SIGKILL at a point.

`python -m tests.killed_process FOLDER COMMAND POINT`; POINT is the number of the write before
which the process dies, or `none`. Prints the points it passes.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mrag_pipeline.index.milvus import open_index
from mrag_pipeline.index.spec import MilvusSpec
from tests.crashes import CHANGED, FIRST, scenarios
from tests.killing import Killable, Switch
from tests.living import Living


def a_living(folder: Path) -> Living:
    """The index in the folder; its connection is to be closed."""
    index = open_index(MilvusSpec(uri=str(folder / "x.db")), "docs")
    return Living(folder / "staging", FIRST, index, shard_bytes=200, num_heads=2)


def main(folder: Path, command: str, point: str) -> None:
    """Runs the command; what it needs before is there already."""

    def die(_: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    switch = Switch(None if point == "none" else int(point), die)
    [scenario] = [one for one in scenarios() if one.name == command]
    living = a_living(folder)
    with closing(living.index), switch.over_staging():
        living.items = FIRST if command == "ingest" else CHANGED
        killable = Killable(living.index, switch)
        scenario.run(replace(living, index=killable))  # type: ignore[arg-type]
    print("\n".join(switch.points))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
