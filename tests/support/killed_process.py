"""Runs one command on a real Milvus Lite in this process, and kills it with SIGKILL at a point.

`python -m tests.support.killed_process FOLDER COMMAND POINT`. POINT is the number of the write
before which the process dies, `none`, or `prepare` to set up the state that the command starts
from. Prints the points it passes.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.crash_scenarios import CHANGED, FIRST, scenarios
from tests.support.living_index import Living
from tests.support.scripted_kills import Killable, Switch


def a_living(folder: Path, command: str = "sync", prepares: bool = False) -> Living:
    """The index in the folder with its corpus; the caller closes the index."""
    # The export that `import` reads is made from another index.
    name = "source.db" if command == "import" and prepares else "x.db"
    index = open_index(MilvusSpec(uri=str(folder / name)), "docs")
    items = CHANGED if command == "sync" and not prepares else FIRST
    living = Living(folder / "staging", items, index, shard_bytes=200, num_heads=2)
    if command in ("retire", "reindex") and not prepares:
        living.chunking = ChunkingSpec(max_tokens=16)
    return living


def main(folder: Path, command: str, point: str) -> None:
    """Runs the command, or prepares the state it starts from."""

    def die(_: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    prepares = point == "prepare"
    switch = Switch(int(point) if point.isdigit() else None, die)
    [scenario] = [scenario for scenario in scenarios() if scenario.name == command]
    living = a_living(folder, command, prepares)
    index = living.index
    with closing(index), switch.over_staging():
        if prepares:
            scenario.prepare(living)
            return
        killable = Killable(index, switch)
        scenario.run(replace(living, index=killable))
    print("\n".join(switch.points))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
