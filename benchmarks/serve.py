"""What the query service costs beside a plain search app: `python benchmarks/serve.py`.

One index of 20,000 chunks of real text (see served.py; built at the first run, then kept in
--folder), asked over HTTP by callers on the same machine:

(a) the service (`mrag serve`): `mrag`, one window, and `aspect`, questions of just 8 windows;
(b) the same service, `standard`;
(c) a plain app, as one writes it in an hour: FastAPI, sentence-transformers, pymilvus, one vector
    a question, uvicorn: plain_search.py.

Latency: one caller who asks each in turn, so that what else runs on the machine meets all. Ratios
are medians of medians over eight stretches of the run, with the lowest and the highest. Highest
QPS: callers who ask again as soon as they are answered, more and more of them. Where the time
goes is told by the answers themselves (`seconds`); "between" is what the API waited besides
(routing to replicas and queues there), "outside" the rest of what the caller saw: proxy, JSON,
connection. Everything here has one thread in torch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import callers
import psutil
import served
from batching import show_batching
from callers import Asked, Contender, told
from served import Place, Process, Questions

from mrag_pipeline import wiring
from mrag_pipeline.cli import library_settings

K = 10
CPU_CALLERS = 4
CALLERS = {"server": (1, 4, 8, 16, 32), "lite": (1, 4, 8)}
PLAIN = "(c) plain, one vector"
# Of the issue: on the server, to (c).
P50_AT_MOST = {"(a) mrag": 2.5, "(a) aspect, 8 windows": 4.0}
QPS_AT_LEAST = {"(a) mrag": 0.5}


# ------------------------------------------------------------------ the plain app
@contextmanager
def plain_process(place: Place) -> Iterator[Process]:
    """The plain app over the index; on Lite over a copy, since a database has one owner."""
    uri = place.milvus_uri
    if place.backend == "lite":
        uri = str(served.copied(Path(uri), "plain.db"))
    port = served.free_port()
    app = str(Path(__file__).with_name("plain_search.py"))
    command = [sys.executable, app, uri, "--port", str(port), "--index-type", place.index_type]
    log = place.folder / "plain.log"
    with served.running(command, port, log, served.is_ready) as process:
        yield process


# ------------------------------------------------------------------ what is measured
def contenders_of(service: str, plain: str, asked: Questions) -> list[Contender]:
    """All that are asked; the same questions, but for those of 8 windows."""

    def ours(name: str, strategy: str, queries: Sequence[str]) -> Contender:
        bodies = tuple(callers.search_body(query, strategy, K) for query in queries)
        return Contender(name, f"{service}/v1/search", bodies)

    plain_bodies = tuple(json.dumps({"query": query, "k": K}).encode() for query in asked.short)
    return [
        Contender(PLAIN, f"{plain}/search", plain_bodies),
        ours("(b) standard", "standard", asked.short),
        ours("(a) mrag", "mrag", asked.short),
        ours("(a) aspect, 8 windows", "aspect", asked.long),
    ]


def measure(place: Place, asked: Questions, latency_s: float, sweep_s: float) -> None:
    """The tables of one backend."""
    with ExitStack() as stack:
        service = stack.enter_context(served.service(place))
        plain = stack.enter_context(plain_process(place))
        contenders = contenders_of(service.url, plain.url, asked)
        answers = asyncio.run(callers.in_turn(contenders, latency_s))
        show_latency(answers)
        show_stages({name: found for name, found in answers.items() if name != PLAIN})
        show_cpu(contenders, [service, plain], sweep_s)
        best = show_throughput(contenders, CALLERS[place.backend], sweep_s)
    if place.backend == "server":
        show_targets(answers, best)


def show_latency(answers: dict[str, list[Asked]]) -> None:
    rows = []
    for name, found in answers.items():
        middle, high, highest = callers.quantiles(found)
        to_plain, low, top = callers.ratio(found, answers[PLAIN])
        failed = sum(not one.ok for one in found)
        rows.append(
            [
                name,
                f"{len(found)}" + (f" ({failed} failed)" if failed else ""),
                f"{middle:.0f}",
                f"{high:.0f}",
                f"{highest:.0f}",
                f"{to_plain:.2f}x [{low:.2f}, {top:.2f}]",
            ]
        )
    print("\nOne caller, in turn:")
    callers.table(["", "asked", "p50 ms", "p95 ms", "p99 ms", "p50 to (c)"], rows)


def show_stages(answers: dict[str, list[Asked]]) -> None:
    """Medians of what the answers tell, and of the rest."""
    by_name: dict[str, dict[str, float]] = {}
    for name, found in answers.items():
        stages: dict[str, list[float]] = {}
        for one in found:
            if not one.ok:
                continue
            seconds = dict(json.loads(one.body)["seconds"])
            inside = seconds.pop("total", sum(seconds.values()))
            seconds["between"] = inside - sum(seconds.values())
            seconds["outside"] = one.seconds - inside
            for stage, taken in seconds.items():
                stages.setdefault(stage, []).append(taken)
        by_name[name] = {stage: 1e3 * statistics.median(taken) for stage, taken in stages.items()}
    names = list(dict.fromkeys(stage for stages in by_name.values() for stage in stages))
    rows = [
        [name, *(f"{stages.get(stage, 0.0):.1f}" for stage in names)]
        for name, stages in by_name.items()
    ]
    print("\nWhere the time goes, ms (medians):")
    callers.table(["", *names], rows)


def show_cpu(contenders: Sequence[Contender], processes: Sequence[Process], seconds: float) -> None:
    """CPU time of an answer by part, with few callers; little of what else runs is in it."""

    def spent() -> dict[str, float]:
        milvus = [one for one in psutil.Process().children() if "milvus" in one.name()]
        found = {"Milvus": sum(sum(one.cpu_times()[:2]) for one in milvus)} if milvus else {}
        for process in processes:
            for part, time_s in process.cpu_seconds().items():
                found[part] = found.get(part, 0.0) + time_s
        return found

    before = spent()
    time.sleep(seconds)
    idle = {part: (after - before.get(part, 0.0)) / seconds for part, after in spent().items()}
    by_name: dict[str, dict[str, float]] = {}
    for one in contenders:
        before, began = spent(), time.monotonic()
        _, asked = asyncio.run(callers.at_once(one, CPU_CALLERS, seconds, opens_at=0.0))
        took = time.monotonic() - began
        by_name[one.name] = {
            part: 1e3 * (after - before.get(part, 0.0) - took * idle[part]) / max(len(asked), 1)
            for part, after in spent().items()
            if part in idle
        }
    rows = [
        [name, *(f"{parts.get(part, 0.0):.1f}" for part in idle), f"{sum(parts.values()):.0f}"]
        for name, parts in by_name.items()
    ]
    print(f"\nCPU ms of an answer, {CPU_CALLERS} callers, without what the parts take when idle:")
    names = ["plain app" if part == "plain_search" else part for part in idle]
    callers.table(["", *names, "sum"], rows)
    print(f"\nIdle, all together: {100 * sum(idle.values()):.0f}% of a core")


def show_throughput(
    contenders: Sequence[Contender], steps: Sequence[int], seconds: float
) -> dict[str, float]:
    """The highest answers a second of each, and the table."""
    rows, best = [], {}
    for one in contenders:
        found = []
        for count in steps:
            qps, asked = asyncio.run(callers.at_once(one, count, seconds))
            failed = sum(not each.ok for each in asked)
            found.append((qps, count, callers.quantiles(asked), failed))
        qps, count, (middle, _, highest), failed = max(found)
        best[one.name] = qps
        rows.append(
            [
                one.name,
                f"{qps:.1f}",
                f"{count}",
                f"{middle:.0f}",
                f"{highest:.0f}",
                f"{failed}",
                f"{qps / best[PLAIN]:.2f}x",
                " ".join(f"{each[1]}:{each[0]:.0f}" for each in found),
            ]
        )
    print("\nMost answers a second:")
    callers.table(
        ["", "QPS", "callers", "p50 ms", "p99 ms", "failed", "to (c)", "callers:QPS"], rows
    )
    return best


def show_targets(answers: dict[str, list[Asked]], best: dict[str, float]) -> None:
    """What was promised beside what was measured."""
    print("\nTargets on the server:")
    for name, most in P50_AT_MOST.items():
        found = callers.ratio(answers[name], answers[PLAIN])[0]
        told("p50 of " + name, f"{found:.2f}x (c)", f"at most {most}x", found <= most)
    for name, least in QPS_AT_LEAST.items():
        found = best[name] / best[PLAIN]
        told("highest QPS of " + name, f"{found:.2f}x (c)", f"at least {least}x", found >= least)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("server", "lite", "both", "none"), default="both")
    parser.add_argument(
        "--folder", type=Path, default=Path(".mrag/bench"), help="kept between runs"
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument(
        "--index-type", choices=("FLAT", "HNSW"), default="FLAT", help="of all, on the server"
    )
    parser.add_argument("--quick", action="store_true", help="a trial: figures mean little")
    parser.add_argument(
        "--serve",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of [serve], such as remember_s=0",
    )
    options = parser.parse_args()
    library_settings.settle()
    folder = options.folder.absolute() / str(options.chunks)
    latency_s, sweep_s = (8.0, 1.5) if options.quick else (40.0, 4.0)
    began = time.monotonic()
    with ExitStack() as stack:
        settings = dict(one.split("=", 1) for one in options.serve)
        asked_for = {key: json.loads(value) for key, value in settings.items()}
        lite = Place(folder, options.chunks, str(folder / "index.db"), asked_for)
        record = served.prepare(lite)[served.EDITIONS[0]]
        with closing(wiring.index(lite.config())) as index:
            asked = served.questions(lite, index, record)
        print(
            f"{record.num_chunks:,} chunks of {record.num_documents:,} documents, "
            f"{len(record.encoder.heads)} heads, k = {K}, {len(asked.short)} questions, "
            f"{os.cpu_count()} cores"
        )
        if options.backend in ("server", "both"):
            kind = options.index_type
            data = folder / ("milvus" if kind == "FLAT" else f"milvus-{kind}")
            uri = stack.enter_context(served.milvus_server(data))
            server = Place(folder, options.chunks, uri, asked_for, kind)
            served.prepare(server)
            print(f"\n## Milvus 2.3.5 server, {kind}")
            measure(server, asked, latency_s, sweep_s)
            stack.close()
        if options.backend in ("lite", "both"):
            print("\n## Milvus Lite")
            measure(lite, asked, latency_s, sweep_s)
    print("\n## Batches")
    show_batching(lite, asked, sweep_s)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
