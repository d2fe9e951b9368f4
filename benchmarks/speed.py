"""How fast it is for a person: `python benchmarks/speed.py [--parts PART...]`.

- waits: what a person waits for, command by command (`waits.py`), 3 minutes
- price: what a question costs beside one vector (`price.py`), 7 minutes
- demo: an ingest of the demo's corpus with all heads beside a script's with one vector
  (`ingest.py`), 3 minutes a round
- int8: an int8 encoder beside those of others (`encode_int8.py`, whose others have to be
  installed), 6 minutes
- suite: `make test`, once

All parts take about 35 minutes of two idle cores. Prints the figures and keeps them in
figures/speed.json: {name: {value, low, high, unit}}. A part that is not run keeps its figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import waits
from figure import figure

PARTS = ("waits", "price", "demo", "int8", "suite")
OTHER = "script with one vector"


def demo(rounds: int, environments: Path | None) -> None:
    """The demo's corpus, by a script with one vector and by us with all heads, in turns.

    Args:
        environments: as of ingest.py; None: this interpreter runs both.
    """
    import ingest

    documents = ingest.texts(ingest.DEMO)
    seconds: dict[str, list[float]] = {"script": [], "ingest": []}
    for _ in range(rounds):
        for name, peer in (("script", "plain"), ("ingest", "mrag")):
            [ended] = ingest.measured(ingest.command_of(peer, environments), documents, 1)
            seconds[name].append(ended.seconds)
    ratios = [a / b for a, b in zip(seconds["ingest"], seconds["script"], strict=True)]
    waits.kept(
        {
            "ingest of the demo's corpus": figure(seconds["ingest"], "s", 1),
            f"{OTHER} of the demo's corpus": figure(seconds["script"], "s", 1),
            f"ingest of the demo's corpus to the {OTHER}": figure(ratios, "x", 2),
        }
    )


def int8() -> None:
    """The int8 encoder's speed to that of the fastest other one, for heads and for both."""
    import encode_int8  # torch and the others' libraries, which no other part needs

    figures = encode_int8.measure()
    if not figures:
        return  # it has said that this CPU has no int8 products
    others = [name for name in encode_int8.PEERS if f"{name}: speed" in figures]
    if not others:
        raise SystemExit("encode_int8.py says what to install for the int8 encoders of others")
    fastest = max(others, key=lambda name: float(figures[f"{name}: speed"]["value"]))
    names = [f"{ours} to {fastest}" for ours in encode_int8.OURS]
    waits.kept({name: figures[name] for name in names})


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=waits.ROUNDS, help="of waits and demo")
    parser.add_argument("--folder", type=Path, default=waits.FOLDER, help="of kept indexes")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="for demo's script")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    if len(options.parts) > 1:
        for part in options.parts:
            # In a process of its own: what one imports sets the threads of all that it starts.
            arguments = [*sys.argv[1:], "--parts", part]
            subprocess.run([sys.executable, __file__, *arguments], check=True)
        return
    [part] = options.parts
    if part == "waits":
        waits.measure(options.rounds, options.folder)
    elif part == "price":
        import price

        price.measure(options.folder, price.ROUNDS)
    elif part == "demo":
        demo(options.rounds, options.environments)
    elif part == "int8":
        int8()
    else:
        waits.measure_suite()


if __name__ == "__main__":
    main()
