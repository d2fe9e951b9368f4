"""What each size of install weighs and takes to import: `python benchmarks/install.py`.

Builds a wheel, makes three environments and installs one size into each with pip, in the versions
of constraints.txt: about 10 minutes and 5 GB of disk.

Prints the figures and writes figures/install.json: {size: {megabytes, import_s, distributions}}.
A megabyte is 10^6 bytes of the environment's site-packages, its compiled files included; pip is
none of them. Seconds are CPU time of the import in a new process, of 10 the least: others on the
machine move it less than wall time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.clean_environment import CleanEnvironment, build_wheel

FIGURES = Path(__file__).parent / "figures" / "install.json"
TRIES = 10
# What a program of each size begins with.
STATEMENTS = {
    "client": "from mrag_pipeline import Client",
    "library": "from mrag_pipeline import Index; import mrag_pipeline.flows.ingest",
    "cluster": "import mrag_pipeline.flows.ingest, ray.serve",
}


def import_seconds(environment: CleanEnvironment, statement: str, cwd: Path) -> float:
    """The least CPU time of the import, each in a new process."""
    code = (
        "import time\nstarted = time.process_time()\n"
        f"{statement}\nprint(time.process_time() - started)"
    )
    return min(float(environment.python(code, cwd)) for _ in range(TRIES))


def main() -> None:
    """Prints and writes the figures."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheel = build_wheel(folder / "wheel")
        for size, statement in STATEMENTS.items():
            extra = "" if size == "client" else size
            environment = CleanEnvironment.make(folder / size, wheel, extra)
            seconds = import_seconds(environment, statement, folder)
            figures[size] = {
                "megabytes": round(environment.megabytes()),
                "import_s": round(seconds, 2),
                "distributions": len(environment.distributions()),
            }
            print(f"{size}: {figures[size]}", flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
