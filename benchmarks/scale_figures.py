"""All figures of scale, in figures/scale.json by one command; docs/scaling.md says what they mean.

    python benchmarks/scale_figures.py                  # every part, one after the other
    python benchmarks/scale_figures.py --only load      # some parts; the others' figures stay
    python benchmarks/scale_figures.py --print          # the table of what was measured

Each part is a benchmark of its own and keeps its figures when it is done, or step by step: a run
that is stopped loses only the part that it is in. A part that fails does not keep the next from
running. The part `runs` has a file of its own, figures/scale_runs.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figure import SCALE, Figure, keep, table

FOLDER = Path(__file__).parent
KILLS = FOLDER / "figures" / "kills.json"
TOTALS = (
    "seed",
    "kills",
    "rounds",
    "indexes compared row by row and audited",
    "rows lost",
    "rows doubled",
    "faults",
)


@dataclass(frozen=True)
class Part:
    """Some commands, and about what they need on two cores with nothing else running."""

    name: str
    measures: str
    minutes: int
    memory_gb: float
    commands: tuple[str, ...]  # scripts of this folder, with their options


PARTS = (
    Part("phases", "what a second worker is worth, beside two plain processes", 25, 3,
         ("phases.py --chunks 200000 --memory-chunks --phases verify audit",
          "phases.py --chunks 1000000 --heads 1 --dim 8 --memory-chunks --phases reconcile compare",
          "phases.py --chunks 5000000 --heads 1 --dim 8 --memory-chunks --phases reconcile")),
    Part("memory", "the driver's memory at 1,000, 100,000 and a million chunks", 15, 8,
         ("phases.py --chunks 0",)),
    Part("compare", "a sync's comparison of ten million documents: memory, CPU", 5, 0.5,
         ("compare_many.py --documents 10000000 --write",)),
    Part("load", "a real Milvus server: inserts, bulk import, and reading of ids", 14, 4,
         ("load.py --repeats 2 --write",)),
    Part("runs", "a whole ingest into a real Milvus server, from 1,000 to a million chunks", 20, 10,
         ("scale.py --write",)),
    Part("collections", "500 collections on a real Milvus server", 45, 4,
         ("many_collections.py --write",)),
    Part("simulate", "the plan of a billion chunks, with nodes lost", 1, 0.5,
         ("simulate.py --write",)),
    Part("plan", "the plan's tables of docs/scaling.md, from the figures of the others", 1, 0.5,
         ("scale_plan.py --page",)),
    Part("kills", "the totals of figures/kills.json, which kills.py writes in hours", 0, 0, ()),
)  # fmt: skip


def main() -> int:
    """Runs the parts and prints the table; 1 if one has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.RawTextHelpFormatter,
        epilog="\n".join(["parts:", *map(described, PARTS)]),
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", metavar="PART", choices=names, default=names)
    parser.add_argument("--print", action="store_true", help="only the table of what is kept")
    options = parser.parse_args()
    failed = []
    if not options.print:
        failed = [part.name for part in PARTS if part.name in options.only and not measured(part)]
    print("\n".join(table(json.loads(SCALE.read_text()))))
    for name in failed:
        print(f"{name} has failed: python benchmarks/scale_figures.py --only {name}")
    return 1 if failed else 0


def described(part: Part) -> str:
    """A line of `--help`."""
    memory = f"{part.memory_gb:g} GB"
    return f"  {part.name:12} {part.measures}; about {part.minutes} minutes, {memory}"


def measured(part: Part) -> bool:
    """Runs a part; whether it ended well."""
    began = time.monotonic()
    print(described(part).strip(), flush=True)
    if part.name == "kills":
        keep(SCALE, kills(json.loads(KILLS.read_text())), instead_of="random kills: ")
    for command in part.commands:
        script, *arguments = command.split()
        if not ran([sys.executable, str(FOLDER / script), *arguments]):
            return False
    print(f"{part.name}: {(time.monotonic() - began) / 60:.1f} minutes\n", flush=True)
    return True


def ran(command: Sequence[str]) -> bool:
    """Whether the command ended well."""
    return subprocess.run(command, check=False).returncode == 0


def kills(figures: dict[str, Figure]) -> dict[str, Figure]:
    """The totals of a campaign of random kills, and its kills by phase and by pool."""
    return {
        f"random kills: {name}": one
        for name, one in figures.items()
        if name in TOTALS or name.startswith(("kills, phase ", "kills, where "))
    }


if __name__ == "__main__":
    sys.exit(main())
