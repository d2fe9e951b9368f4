"""What each size of install weighs and takes to import: `python benchmarks/install.py`.

Builds a wheel, makes three environments and installs one size into each with pip, in the versions
of constraints.txt: about 10 minutes and 5 GB of disk.

Prints the figures and writes figures/install.json: {size: {megabytes, distributions, import_s}}.
A megabyte is 10^6 bytes of the environment's site-packages, compiled files included; pip is none of
them. Seconds, of the client alone, are CPU time of its import in a new process, of 10 the least:
others on the machine move it less than wall time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.clean_environment import CleanEnvironment, build_wheel

FIGURES = Path(__file__).parent / "figures" / "install.json"
SIZES = {"client": "", "library": "library", "cluster": "cluster"}  # the extra of each
IMPORT = "from mrag_pipeline import Client"


def main() -> None:
    """Prints and writes the figures."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheel = build_wheel(folder / "wheel")
        for size, extra in SIZES.items():
            environment = CleanEnvironment.make(folder / size, wheel, extra)
            if size == "client":
                seconds = environment.import_seconds(IMPORT, folder)
                figures[size] = {"import_s": round(seconds, 2)}
            figures.setdefault(size, {}).update(
                megabytes=round(environment.megabytes()),
                distributions=len(environment.distributions()),
            )
            print(f"{size}: {figures[size]}", flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
