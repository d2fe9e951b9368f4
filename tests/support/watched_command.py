"""The `mrag` command, which also appends the name of each phase of a run to a file as it begins.

`python -m tests.support.watched_command FILE ARGUMENTS`. A phase that is over in milliseconds waits
for a moment, so that something can happen in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mrag_pipeline.cli import main
from mrag_pipeline.flows.phase_times import PhaseTimes

T = TypeVar("T")
SHORT = ("calibrate", "gate", "publish", "finish")
PAUSE_S = 3.0


def watch(file: Path) -> None:
    """From now on phases are told."""
    timed = PhaseTimes.time

    def told(self: PhaseTimes, phase: str, work: Callable[[], T]) -> T:
        with file.open("a") as opened:
            opened.write(f"{phase}\n")
        if phase in SHORT:
            time.sleep(PAUSE_S)
        return timed(self, phase, work)

    PhaseTimes.time = told  # type: ignore[method-assign]


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
    sys.argv = ["mrag", *sys.argv[2:]]
    main()
