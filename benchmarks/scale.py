"""How an ingest grows with its corpus: time, memory and disk by phase, from 1,000 chunks up.

    python benchmarks/scale.py [--sizes 1000 10000 100000 1000000] [--backend server|lite]
    python benchmarks/scale.py --report

A synthetic encoder stands for the model (`synthetic.py`), so that planning, staging, importance,
reconciling, loading, verifying and searching are what is measured; the rest is the product: Ray
actors, Parquet on disk, Milvus. Each size runs in a process of its own and starts its own server
(`pip install --no-deps milvus==2.3.5`); its figures go to a JSON file, so that sizes may be run one
by one, in any order. Each run ends with the table, the fitted growth and the plot of all there are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic import write_corpus

PHASES = ("plan", "embed", "reconcile", "load", "verify", "publish", "search")
SMALL = 10_000  # up to here a run is repeated: its seconds are few

Figures = dict[str, Any]


def main() -> None:
    """Measures what is asked, then tells of all there is."""
    asked = _arguments()
    results = Path(asked.results)
    if not asked.report:
        for size in asked.sizes:
            known = _read(results)
            key = f"{asked.backend} {asked.index_type} {asked.heads}x{asked.dim} {size}"
            print(f"{key} ...", file=sys.stderr, flush=True)
            known[key] = _measured(asked, size)
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(known, indent=1, sort_keys=True))
    series: dict[str, list[Figures]] = {}
    for one in _read(results).values():
        name = f"{one['backend']}, {one['index_type']}, {one['heads']} heads x {one['dim']}"
        series.setdefault(name, []).append(one)
    for name, runs in series.items():
        runs.sort(key=lambda one: int(one["chunks"]))
        _tell(name, runs)
    drawn = [runs for runs in series.values() if len(runs) > 2]
    if drawn and asked.plot:
        _draw(max(drawn, key=lambda runs: int(runs[-1]["chunks"])), Path(asked.plot))


def _measured(asked: argparse.Namespace, size: int) -> Figures:
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        corpus = Path(place) / "corpus.jsonl"
        write_corpus(corpus, size)
        command = [
            *(sys.executable, str(Path(__file__).with_name("scale_one.py"))),
            *("--corpus", str(corpus), "--folder", place),
            *("--heads", str(asked.heads), "--dim", str(asked.dim)),
            *("--backend", asked.backend, "--index-type", asked.index_type),
            *("--repeats", str(asked.repeats if size <= SMALL else 1)),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{size:,} chunks: the run has failed")
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures


def _tell(name: str, runs: Sequence[Figures]) -> None:
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
        _row(f"{phase}, us a chunk", [f"{one:.1f}" for one in each])
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
    for what in ("corpus", "staging", "index"):
        disk = [_disk_mb(run, what) for run in runs]
        _row(f"{what} on disk, MB", [f"{mb:,.1f}" for mb in disk], *_growth(chunks, disk))
    _row("shards", [str(run["shards"]) for run in runs])
    _row("staged files", [str(run["files"]) for run in runs])
    for what in ("GET", "PUT", "LIST"):
        each = [
            sum(phase.get(what, 0) for phase in run["requests"].values()) / run["shards"]
            for run in runs
        ]
        _row(f"driver's {what} of staging a shard", [f"{one:.1f}" for one in each])
    _row("recall of verify", [f"{run['recall']:.3f}" for run in runs])
    by_size = {int(run["chunks"]): run for run in runs}
    if 10_000 in by_size and 1_000_000 in by_size:
        for phase in ("embed", "load"):
            small, large = (by_size[n]["seconds"][phase] / n for n in (10_000, 1_000_000))
            print(f"{phase}: a chunk at 1,000,000 takes {large / small:.2f}x one at 10,000")


def _growth(chunks: Sequence[int], values: Sequence[float]) -> tuple[str, str]:
    """The slope of log value over log chunks; the last step's cost a chunk over that before it."""
    if len(chunks) < 2 or min(values) <= 0:
        return "", ""
    slope = np.polyfit(np.log(chunks), np.log(values), 1)[0]
    if len(chunks) < 3:
        return f"{slope:.2f}", ""
    steps = np.diff(values) / np.diff(chunks)
    return f"{slope:.2f}", f"{steps[-1] / steps[-2]:.2f}" if steps[-2] > 0 else ""


def _disk_mb(run: Figures, what: str) -> float:
    # A repeated run leaves as many indexes in its server.
    shared = int(run["repeats"]) if what == "index" else 1
    return float(run["disk_bytes"][what]) / 1e6 / shared


def _row(what: str, cells: Sequence[str], slope: str = "", steps: str = "") -> None:
    print(f"{what:<40}" + "".join(f"{cell:>13}" for cell in cells) + f"{slope:>8}{steps:>26}")


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
    for what in ("corpus", "staging", "index"):
        disk.plot(chunks, [_disk_mb(run, what) for run in runs], marker="o", label=what)
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
    parser.add_argument("--repeats", type=int, default=3, help=f"of sizes up to {SMALL:,}")
    parser.add_argument("--backend", choices=("server", "lite"), default="server")
    parser.add_argument("--index-type", default="FLAT")
    parser.add_argument("--results", default=".mrag/scale.json")
    parser.add_argument("--report", action="store_true", help="measure nothing, tell what is there")
    parser.add_argument("--plot", default="", help="where to draw, as PNG")
    parser.add_argument("--folder", default=None, help="for all that is written; default: /tmp")
    return parser.parse_args()


if __name__ == "__main__":
    main()
