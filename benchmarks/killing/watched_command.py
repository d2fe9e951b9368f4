"""The `mrag` command, which also writes the name of each phase to a file as it begins.

`python watched_command.py FILE ARGUMENTS`: so that a kill can be aimed at a phase. With
MRAG_WITHOUT_PREFECT in its environment it runs as where Prefect is not installed: nothing is
recorded. With MRAG_KILLS_ITEMS its phases have many items (`many_items.py`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrag_pipeline.__main__ import main
from mrag_pipeline.flows import engine, phase_times, progress

WITHOUT_PREFECT = "MRAG_WITHOUT_PREFECT"
ITEMS = "MRAG_KILLS_ITEMS"


def announce_to(file: Path) -> None:
    """From now on phases are told to the file, one a line: when it began, and its name."""
    named: list[str] = []

    def announce(name: str) -> None:
        if named[-1:] != [name]:
            named.append(name)
            with file.open("a") as opened:
                opened.write(f"{time.monotonic()} {name}\n")

    def announced(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(self: object, name: str, *arguments: Any) -> Any:
            announce(name)
            return method(self, name, *arguments)

        return wrapped

    phase_times.PhaseTimes.time = announced(phase_times.PhaseTimes.time)  # type: ignore[method-assign]
    progress.LogProgress.phase = announced(progress.LogProgress.phase)  # type: ignore[method-assign]


def cut_items() -> None:
    """As the environment says, if it says anything: then the benchmarks can be imported."""
    if os.environ.get(ITEMS):
        from killing import many_items

        many_items.prepare()


if __name__ == "__main__":
    announce_to(Path(sys.argv[1]))
    if os.environ.get(WITHOUT_PREFECT):
        engine.HAS_PREFECT, engine._is_plain = False, True
    cut_items()
    sys.argv = ["mrag", *sys.argv[2:]]
    main()
