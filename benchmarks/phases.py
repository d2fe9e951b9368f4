"""What a second worker is worth after embedding: reconcile, verify, audit and compare by items.

    python benchmarks/phases.py [--chunks N] [--heads H] [--dim D] [--rounds N] [--phases P ...]
        [--memory-chunks [N ...]]

One worker and two, in turns, on the same staged files and on an index that answers from files, so
that no store is the limit; each worker has one thread. Their start is left out, and so are their
first items, which import and open what a phase needs. In each round two plain processes are
measured too: on a virtual machine they are not always twice as fast as one. Then the driver's
memory with two workers, by number of chunks, each in a process of its own (none after
`--memory-chunks` alone). Only the model is left out (`synthetic.py`).

Reconcile and compare read no vectors, so narrow ones do for many chunks:

    --chunks 1000000 --heads 1 --dim 8 --memory-chunks --phases reconcile compare
    --chunks 5000000 --heads 1 --dim 8 --memory-chunks --phases reconcile
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import SCALE, figure, keep, spread
from own_speedup import own_speedup
from peak_memory import peak_mb
from phase_runs import PHASES, SHAPE, Taken, run_phases, staged
from synthetic import Shape

from mrag_pipeline import library_settings
from mrag_pipeline.runtime.cluster import start_local

ROUNDS = 3
AIM, AIM_MB = 1.7, 600.0


def measure(
    num_chunks: int, shape: Shape, rounds: int, phases: Sequence[str]
) -> dict[str, dict[str, float | str]]:
    """The phases with one worker and with two, in turns."""
    figures: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        version = staged(Path(folder), num_chunks, shape)
        _, expected = run_phases(version, 2, phases)  # and files are in the page cache
        taken: dict[int, list[dict[str, Taken]]] = {1: [], 2: []}
        machine: list[float] = []
        for _ in range(rounds):
            machine.append(own_speedup(Path(folder, "corpus.jsonl")))
            for count, own in taken.items():
                of_phases, found = run_phases(version, count, phases)
                assert found == expected, "another result"
                own.append(of_phases)
    size = f"{num_chunks:,} chunks"
    if shape != SHAPE:
        size += f" x {shape.heads} heads x {shape.dim}"
    figures[f"plain processes, 1 to 2, {size}"] = figure(machine, "times")
    print(f"{size}, {rounds} rounds")
    for phase in phases:
        rounds_of = [(one[phase], two[phase]) for one, two in zip(taken[1], taken[2], strict=True)]
        alone = [one.seconds for one, _ in rounds_of]
        ratios = [one.seconds / two.seconds for one, two in rounds_of]
        shares = [100 * two.driver_share for _, two in rounds_of]
        figures[f"{phase}, 1 worker, {size}"] = figure(alone, "s")
        figures[f"{phase}, 1 to 2 workers, {size}"] = figure(ratios, "times")
        figures[f"{phase}, the driver's share of the CPU time, {size}"] = figure(shares, "%")
        print(
            f"{phase:10} 1 worker {statistics.median(alone):6.2f} s, 2 workers "
            f"{spread(ratios)} times as fast (aim {AIM}; 2 plain processes {spread(machine)}); "
            f"{statistics.median(shares):.0f}% of the CPU time is the driver's",
            flush=True,
        )
    return figures


def memory_of(num_chunks: int) -> None:
    """Prints this process's peak after each phase, in MB."""
    library_settings.settle()
    start_local()
    with tempfile.TemporaryDirectory() as folder:
        version = staged(Path(folder), num_chunks)
        run_phases(version, 2)
    print(json.dumps(peak_mb()))


def main() -> None:
    """Measures both, prints, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chunks", type=int, default=30_000)
    parser.add_argument("--heads", type=int, default=SHAPE.heads)
    parser.add_argument("--dim", type=int, default=SHAPE.dim)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--phases", nargs="*", choices=PHASES, default=PHASES)
    parser.add_argument("--memory-chunks", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--driver", type=int, help="measure this driver's memory alone")
    args = parser.parse_args()
    if args.driver:
        memory_of(args.driver)
        return
    library_settings.settle()
    if args.chunks:
        start_local()
        shape = Shape(args.heads, args.dim)
        keep(SCALE, measure(args.chunks, shape, args.rounds, args.phases))
    for num_chunks in args.memory_chunks:
        command = [sys.executable, __file__, "--driver", str(num_chunks)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = float(output.strip().splitlines()[-1])
        print(f"driver's memory at {num_chunks:,} chunks: {peak:.0f} MB (aim {AIM_MB:.0f})")
        keep(SCALE, {f"driver, {num_chunks:,} chunks": figure([peak], "MB")})


if __name__ == "__main__":
    main()
