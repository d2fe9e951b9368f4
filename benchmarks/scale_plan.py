"""Plans resources and cost for a very large corpus, from measured figures and assumptions.

    python benchmarks/scale_plan.py [--chunks 1000000000] [--heads 32] [--dim 128]
    python benchmarks/scale_plan.py --page

Prints the tables of docs/scaling.md; `--page` writes them there. Measured figures come from
`benchmarks/figures/` (written by scale_figures.py, scale.py and index_types.py). Every other number
is an assumption in `Assumed` and can be changed: `--set gpu_tokens_s=12000 --set tokens=256`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figure import PAGE, put_in
from phase_rates import Rates, of_run
from plan_items import Corpus
from scale_hours import (
    CPU_NODES,
    ENOUGH,
    after_embedding,
    embed_hours,
    print_a_day,
    print_hours,
    print_memory,
    shown,
)
from scale_requests import print_requests

FIGURES = Path(__file__).parent / "figures"
TB, GB = 1e12, 1e9
# Memory over the raw vectors' size where nothing was measured: 4-byte numbers; the same with a
# graph of 2 x 16 neighbours; 1-byte numbers; a compressed copy in memory with the rest on NVMe.
FACTORS = {"FLAT": 1.02, "HNSW": 1.3, "IVF_SQ8": 0.28, "DISKANN": 0.25}
TYPES = FIGURES / "index_types.json"
# By mark of the page: the plans that it shows.
PAGES = {
    "plan": "",
    "small plan": "--chunks 100000000 --heads 12 --dim 32 --set shard_mb=16",
}


@dataclass(frozen=True)
class Assumed:
    """Assumptions, not measured here. Prices are public list prices in US dollars."""

    tokens: float = 128  # of a chunk
    chars: float = 540  # of a chunk
    gpu_tokens_s: float = 20_000  # a 7B encoder in bf16 on one H100; not measured
    gpus: int = 64
    staging_waits: float = 1.0  # share of a shard's staging during which its GPU has nothing to do
    load_times: float = 1.0  # as fast as inserts were measured to be
    node_cores: float = 2  # of a CPU node: a loading worker and its part of the Milvus server
    core_hour: float = 0.045  # of a CPU node
    channels: float = 16  # of a collection at most, that take rows; see index/milvus/ranges.py
    search_share: float = 1.0  # of the time of a search of FLAT
    gpu_hour: float = 3.0
    shard_mb: float = 64.0  # sharding.shard_mb, as in deploy/config/cluster-32-gpus.toml
    put_thousand: float = 0.005  # PUT, LIST
    get_thousand: float = 0.0004
    storage_gb_month: float = 0.023
    request_s: float = 0.030  # of one small request to the object store
    node_gb: float = 512  # memory of a query node
    node_use: float = 0.75  # share of it that holds collections
    node_hour: float = 4.0
    disk_node_hour: float = 5.5  # with 15 TB of NVMe, for DISKANN
    disk_factor: float = 1.6  # size of DISKANN's files over the vectors, while they are built
    part_mb: float = 10.0  # of a multipart upload
    segment_gb: float = 8.0  # dataCoord.segment.maxSize; the default is 1
    versions: int = 2  # versions kept


def main() -> None:
    """Prints the tables."""
    options = _arguments()
    if not options.page:
        report(options)
        return
    for mark, arguments in PAGES.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            report(_arguments(arguments.split()))
        put_in(PAGE, mark, printed.getvalue())


def report(options: argparse.Namespace) -> None:
    """Prints the tables."""
    assumed = dataclasses.replace(Assumed(), **_settings(options.set))
    plan = planned(options.chunks, options.heads, options.dim, assumed)
    known = "index_types.py" if TYPES.exists() else "assumed: numbers of 4 bytes, a graph, 1 byte"
    run = plan.run
    size = f"{run['chunks']:,} chunks x {run['measured']}"
    print(f"From {size} ({of_run(run)});\nindex types' memory: {known}.")
    plan.staging()
    plan.embedding()
    if run["chunks"] >= ENOUGH:
        print_hours(plan)
        print_a_day(plan)
        print_memory(plan)
    print_requests(plan)
    plan.milvus()
    plan.cost()


def planned(chunks: int, heads: int, dim: int, assumed: Assumed) -> Plan:
    """The plan of such a corpus, from the largest run that was measured."""
    runs = list(json.loads((FIGURES / "scale_runs.json").read_text()).values())
    measured = json.loads(TYPES.read_text()) if TYPES.exists() else {}
    types = FACTORS | {name: float(figures["memory_factor"]) for name, figures in measured.items()}
    rates = Rates.known(max(runs, key=lambda run: int(run["chunks"])))
    return Plan(chunks, heads, dim, assumed, _of_shape(runs, heads, dim), types, rates, runs)


@dataclass
class Plan:
    """The figures of a corpus, one table per method."""

    chunks: int
    heads: int
    dim: int
    assumed: Assumed
    run: dict[str, Any]  # the largest measured run of the shape
    types: dict[str, float]  # server memory over the vectors' size, by index type
    rates: Rates
    runs: list[dict[str, Any]]  # all of scale.py

    @property
    def width(self) -> int:
        """Numbers in all head vectors of a chunk; the standard embedding has as many."""
        return self.heads * self.dim

    @property
    def shards(self) -> float:
        """Number of shards of the corpus."""
        return self.chunks * self.assumed.chars / (self.assumed.shard_mb * 1e6)

    @property
    def corpus(self) -> Corpus:
        """What the product cuts into items."""
        size = round(self.assumed.shard_mb * 1e6)
        return Corpus(self.chunks, self.num_shards, self.heads, self.dim, size)

    @property
    def num_shards(self) -> int:
        """The same, whole."""
        return math.ceil(self.shards)

    def staging(self) -> None:
        """Prints the bytes of corpus and staging."""
        measured = self.run["disk_bytes"]["staging"] / self.run["chunks"]
        half = measured - self.width * 4
        _title("Corpus and staging")
        _row("corpus", f"{self.chunks * self.assumed.chars / TB:.2f} TB")
        _row(f"shards of {self.assumed.shard_mb:g} MB", f"{self.shards:,.0f}")
        each = self.chunks / self.shards
        _row("chunks of a shard", f"{each:,.0f}, {each * self.width * 8 / GB:.1f} GB of vectors")
        _row("files", f"{self.shards * (self.heads + 5):,.0f} (H + 5 a shard)")
        _row("staged, float32", f"{self.chunks * measured / TB:.1f} TB ({measured:,.0f} B a chunk)")
        _row("staged, vectors in float16", f"{self.chunks * half / TB:.1f} TB")

    def embedding(self) -> None:
        """Prints the GPU hours, and what staging adds to them."""
        tokens = self.chunks * self.assumed.tokens
        hours = tokens / self.assumed.gpu_tokens_s / 3600
        _title("Embedding")
        _row("tokens", f"{tokens / 1e9:,.0f} billion")
        _row("GPU hours", f"{hours:,.0f}")
        _row(f"on {self.assumed.gpus} GPUs", f"{hours / self.assumed.gpus:.1f} h")
        if self.run["chunks"] >= ENOUGH:
            seconds = self.run["seconds"]["embed"] * self.run["workers"] / self.run["chunks"]
            share = seconds / (self.assumed.tokens / self.assumed.gpu_tokens_s)
            more = f"{seconds * 1e3:.2f} ms of a core a chunk: {share:.0%} more"
            _row("staging beside it", f"{more} ({of_run(self.run)})")
        per_s = self.assumed.gpu_tokens_s / self.assumed.tokens * self.width * 8
        _row("written by a GPU's worker", f"{per_s / 1e6:.1f} MB/s")

    def milvus(self) -> None:
        """Prints the server's memory by index type."""
        vectors = 2 * self.chunks * self.width * 4
        _title("Milvus, one version")
        _row("vectors, float32", f"{vectors / TB:.1f} TB: heads and standard, half each")
        per_segment = self.assumed.segment_gb * GB / (self.dim * 4)
        _row(
            "segments",
            f"{self.chunks / per_segment:,.0f} a head, of {self.assumed.segment_gb:g} GB",
        )
        for name, factor in self.types.items():
            memory = vectors * factor
            nodes = -(-memory // (self.assumed.node_gb * GB * self.assumed.node_use))
            note = f"{memory / TB:.1f} TB, {nodes:,.0f} nodes ({factor:.2f}x)"
            if name == "DISKANN":
                note += f", {vectors * self.assumed.disk_factor / TB:.0f} TB of NVMe"
            _row(name, note)

    def cost(self) -> None:
        """Prints the cost in dollars."""
        measured = self.run["disk_bytes"]["staging"] / self.run["chunks"]
        stored = self.chunks * (measured - self.width * 4) / GB * self.assumed.storage_gb_month
        vectors = 2 * self.chunks * self.width * 4
        _title("Cost")
        if self.run["chunks"] >= ENOUGH:
            self._cost_once()
        _row("staging, vectors in float16, a month", f"${stored:,.0f}")
        for name, factor in self.types.items():
            usable = self.assumed.node_gb * GB * self.assumed.node_use
            nodes = -(-vectors * factor // usable)
            price = self.assumed.disk_node_hour if name == "DISKANN" else self.assumed.node_hour
            _row(f"query nodes, {name}, a month", f"${nodes * price * 730:,.0f} ({nodes:,.0f})")

    def _cost_once(self) -> None:
        """Of what is held until the version is live."""
        assumed, hours = self.assumed, embed_hours(self)
        tokens = self.chunks * assumed.tokens / assumed.gpu_tokens_s / 3600 * assumed.gpu_hour
        price = assumed.gpus * hours * assumed.gpu_hour
        held = f"{assumed.gpus:g} for {shown(hours)} h, of which tokens take ${tokens:,.0f}"
        _row("GPUs, once", f"${price:,.0f} ({held})")
        after = after_embedding(self, CPU_NODES)
        nodes = CPU_NODES * assumed.node_cores * assumed.core_hour * after
        what = f"{CPU_NODES} nodes of {assumed.node_cores:g} cores"
        _row(f"{what}, once", f"${nodes:,.0f} ({shown(after)} h)")
        memory = 2 * self.chunks * self.width * 4 * self.types["FLAT"]
        query_nodes = -(-memory // (assumed.node_gb * GB * assumed.node_use))
        _row(
            "query nodes, FLAT, until it is live",
            f"${query_nodes * assumed.node_hour * after:,.0f} ({query_nodes:,.0f})",
        )


def _of_shape(runs: list[dict[str, Any]], heads: int, dim: int) -> dict[str, Any]:
    """The largest run, scaled by the numbers per chunk; this overestimates texts and ids."""
    largest = max(runs, key=lambda run: int(run["chunks"]))
    times = heads * dim / (largest["heads"] * largest["dim"])
    more = heads - largest["heads"]
    requests = {phase: dict(counts) for phase, counts in largest["requests"].items()}
    requests["load"]["GET"] = requests["load"].get("GET", 0) + more * largest["shards"]
    return largest | {
        "measured": f"{largest['heads']} heads x {largest['dim']}",
        "seconds": {phase: seconds * times for phase, seconds in largest["seconds"].items()},
        "disk_bytes": {what: size * times for what, size in largest["disk_bytes"].items()},
        "requests": requests,
    }


def _title(text: str) -> None:
    print(f"\n| {text} | |\n|---|---|")


def _row(what: str, value: str) -> None:
    print(f"| {what} | {value} |")


def _settings(given: list[str]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(Assumed)}
    settings: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise SystemExit(
                f"unknown assumption {name!r}; choose from: {', '.join(sorted(known))}"
            )
        settings[name] = float(value)
    return settings


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000_000)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--page", action="store_true", help="write docs/scaling.md's tables")
    options = parser.parse_args(given)
    changed = options.set or (options.chunks, options.heads, options.dim) != (10**9, 32, 128)
    if options.page and changed:
        parser.error("--page is for the plans of docs/scaling.md, without other settings")
    return options


if __name__ == "__main__":
    main()
