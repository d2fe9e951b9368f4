"""How an ingest scales with its corpus: time, memory and disk by phase, from 1,000 chunks up.

    python benchmarks/scale.py [--sizes 1000 10000 100000 1000000] [--backend server|lite]
    python benchmarks/scale.py --report
    python benchmarks/scale.py --write     # figures/scale_runs.json and the plot of docs/scaling.md

A synthetic encoder replaces the model (`synthetic.py`), so that the figures cover planning,
staging, importance, reconciling, loading, verifying and searching. Everything else is the product:
Ray actors, Parquet on disk, Milvus. Each size runs in a process of its own and starts its own
server (`pip install --no-deps milvus==2.3.5`). Its figures go to a JSON file with the date, so that
sizes can be run one by one, in any order; `--note` tells what ran beside it. Each run ends with the
table, the fitted growth and the plot of all results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic import write_corpus

PHASES = ("plan", "embed", "reconcile", "load", "verify", "publish", "search")
SMALL = 10_000  # runs up to this size are short, so they are repeated
FOLDER = Path(__file__).parent

Figures = dict[str, Any]


def main() -> None:
    """Measures the given sizes, then reports on all results."""
    options = _arguments()
    results = Path(options.results)
    if not options.report:
        for size in options.sizes:
            known = _read(results)
            key = f"{options.backend} {options.index_type} {options.heads}x{options.dim} {size}"
            print(f"{key} ...", file=sys.stderr, flush=True)
            known[key] = _measured(options, size)
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(known, indent=1, sort_keys=True))
    series: dict[str, list[Figures]] = {}
    for run in _read(results).values():
        name = f"{run['backend']}, {run['index_type']}, {run['heads']} heads x {run['dim']}"
        series.setdefault(name, []).append(run)
    for name, runs in series.items():
        runs.sort(key=lambda run: int(run["chunks"]))
        _report(name, runs)
    drawn = [runs for runs in series.values() if len(runs) > 2]
    if drawn and options.plot:
        _draw(max(drawn, key=lambda runs: int(runs[-1]["chunks"])), Path(options.plot))


def _measured(options: argparse.Namespace, size: int) -> Figures:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        corpus = Path(folder) / "corpus.jsonl"
        write_corpus(corpus, size)
        command = [
            *(sys.executable, str(Path(__file__).with_name("scale_one.py"))),
            *("--corpus", str(corpus), "--folder", folder),
            *("--heads", str(options.heads), "--dim", str(options.dim)),
            *("--backend", options.backend, "--index-type", options.index_type),
            *("--repeats", str(options.repeats if size <= SMALL else 1)),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{size:,} chunks: the run failed; see its output above")
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        figures["date"] = date.today().isoformat()
        return figures | ({"note": options.note} if options.note else {})


def _report(name: str, runs: Sequence[Figures]) -> None:
    first = runs[0]
    print(f"\n## {name}, {first['workers']} workers")
    chunks = [int(run["chunks"]) for run in runs]
    _row("chunks", [f"{n:,}" for n in chunks], "slope", "marginal (last : before)")
    for phase in PHASES:
        seconds = [run["seconds"][phase] for run in runs]
        _row(f"{phase}, s", [f"{s:.2f}" for s in seconds], *_growth(chunks, seconds))
    _row(
        "start of actors, s (not in embed)",
        [f"{run['seconds']['start of actors']:.1f}" for run in runs],
    )
    for phase in ("embed", "load"):
        each = [run["seconds"][phase] / run["chunks"] * 1e6 for run in runs]
        _row(f"{phase}, us a chunk", [f"{us:.1f}" for us in each])
    for windows in runs[0]["search_ms"]:
        spent = [run["search_ms"][windows] for run in runs]
        _row(
            f"search of all heads, {windows} windows, ms",
            [f"{ms:.1f}" for ms in spent],
            *_growth(chunks, spent),
        )
    for who in ("driver", "worker", "server"):
        most = [max(phase[who] for phase in run["memory_mb"].values()) for run in runs]
        _row(f"{who}'s memory at most, MB", [f"{mb:,.0f}" for mb in most], *_growth(chunks, most))
    for phase in PHASES:
        own = [run["memory_mb"][phase]["driver"] for run in runs]
        _row(f"driver's in {phase}, MB", [f"{mb:,.0f}" for mb in own])
    for store in ("corpus", "staging", "index"):
        disk = [_disk_mb(run, store) for run in runs]
        _row(f"{store} on disk, MB", [f"{mb:,.1f}" for mb in disk], *_growth(chunks, disk))
    _row("shards", [str(run["shards"]) for run in runs])
    _row("staged files", [str(run["files"]) for run in runs])
    for verb in ("GET", "PUT", "LIST"):
        each = [
            sum(phase.get(verb, 0) for phase in run["requests"].values()) / run["shards"]
            for run in runs
        ]
        _row(f"{verb} of staging a shard", [f"{count:.1f}" for count in each])
    _row("recall of verify", [f"{run['recall']:.3f}" for run in runs])
    by_size = {int(run["chunks"]): run for run in runs}
    if 10_000 in by_size and 1_000_000 in by_size:
        for phase in ("embed", "load"):
            small, large = (by_size[n]["seconds"][phase] / n for n in (10_000, 1_000_000))
            print(f"{phase}: a chunk at 1,000,000 takes {large / small:.2f}x one at 10,000")


def _growth(chunks: Sequence[int], values: Sequence[float]) -> tuple[str, str]:
    """The slope of log value over log chunks, and the last marginal cost over the one before."""
    if len(chunks) < 2 or min(values) <= 0:
        return "", ""
    slope = np.polyfit(np.log(chunks), np.log(values), 1)[0]
    if len(chunks) < 3:
        return f"{slope:.2f}", ""
    steps = np.diff(values) / np.diff(chunks)
    return f"{slope:.2f}", f"{steps[-1] / steps[-2]:.2f}" if steps[-2] > 0 else ""


def _disk_mb(run: Figures, store: str) -> float:
    # Each repeat of a run leaves an index in its server.
    shared = int(run["repeats"]) if store == "index" else 1
    return float(run["disk_bytes"][store]) / 1e6 / shared


def _row(label: str, cells: Sequence[str], slope: str = "", steps: str = "") -> None:
    print(f"{label:<40}" + "".join(f"{cell:>13}" for cell in cells) + f"{slope:>8}{steps:>26}")


def _draw(runs: Sequence[Figures], path: Path) -> None:
    from matplotlib.figure import Figure

    chunks = [run["chunks"] for run in runs]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    time, memory, disk = figure.subplots(1, 3)
    for phase in ("embed", "reconcile", "load", "verify"):
        each = [run["seconds"][phase] / run["chunks"] * 1e6 for run in runs]
        time.plot(chunks, each, marker="o", label=phase)
    time.set(title="time a chunk, microseconds", yscale="log")
    for who in ("driver", "worker", "server"):
        most = [max(phase[who] for phase in run["memory_mb"].values()) for run in runs]
        if max(most) > 0:
            memory.plot(chunks, most, marker="o", label=who)
    memory.set(title="memory at most, MB", yscale="log")
    for store in ("corpus", "staging", "index"):
        disk.plot(chunks, [_disk_mb(run, store) for run in runs], marker="o", label=store)
    disk.set(title="disk, MB", yscale="log")
    for axes in (time, memory, disk):
        axes.set(xscale="log", xlabel="chunks")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    first = runs[0]
    figure.suptitle(
        f"{first['heads']} heads x {first['dim']}, {first['workers']} workers, Milvus "
        f"{first['backend']}, {first['index_type']}",
        fontsize=10,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    print(f"\ndrawn: {path}")


def _read(path: Path) -> dict[str, Figures]:
    known: dict[str, Figures] = json.loads(path.read_text()) if path.exists() else {}
    return known


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help=f"repeats of sizes up to {SMALL:,}")
    parser.add_argument("--backend", choices=("server", "lite"), default="server")
    parser.add_argument("--index-type", default="FLAT")
    parser.add_argument("--results", default=".mrag/scale_runs.json")
    parser.add_argument(
        "--report", action="store_true", help="measure nothing; report existing results"
    )
    parser.add_argument("--plot", default="", help="PNG file to draw the plot in")
    parser.add_argument(
        "--folder", default=None, help="folder for all temporary files; default: /tmp"
    )
    parser.add_argument("--note", default="", help="such as: beside other tests")
    parser.add_argument(
        "--write", action="store_true", help="the results and the plot of docs/scaling.md"
    )
    options = parser.parse_args()
    if options.write:
        options.results = str(FOLDER / "figures" / "scale_runs.json")
        options.plot = str(FOLDER.parent / "docs" / "images" / "scale.png")
    return options


if __name__ == "__main__":
    main()
