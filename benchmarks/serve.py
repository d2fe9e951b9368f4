"""What the query service costs beside a plain search app: `python benchmarks/serve.py`.

Callers on the same machine send HTTP requests to services over one index of 20,000 chunks of real
text (see served.py; the first run builds it and keeps it in --folder):

(a) the service (`mrag serve`) with `mrag`, one window, and with `aspect`, questions of 8 windows;
(b) the same service with `standard`;
(c) a plain app as one might write it in an hour (plain_search.py): FastAPI, uvicorn,
    sentence-transformers and pymilvus, one vector for each question.

Latency: one caller asks each service in turn, so that load on the machine affects all alike. Ratios
are medians of medians over eight blocks of the run, with the lowest and the highest. Highest QPS:
callers ask again as soon as they are answered, with the number of callers rising. The breakdown of
the time comes from the answers' own `seconds`; "between" is the time that the API waited outside
those stages (routing to replicas and their queues), "outside" the rest of the caller's time: proxy,
JSON, connection. torch has one thread in every process.
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
import processes
import psutil
import served
from batching import show_batching
from callers import Contender, Response, print_target
from processes import Process
from served import BenchIndex, Questions

from mrag_pipeline import library_settings, wiring

K = 10
CPU_CALLERS = 4
CALLERS = {"server": (1, 4, 8, 16, 32), "lite": (1, 4, 8)}
PLAIN = "(c) plain, one vector"
# Targets on the server, relative to (c).
P50_AT_MOST = {"(a) mrag": 2.5, "(a) aspect, 8 windows": 4.0}
QPS_AT_LEAST = {"(a) mrag": 0.5}


# ------------------------------------------------------------------ the plain app
@contextmanager
def plain_process(bench: BenchIndex) -> Iterator[Process]:
    """Runs the plain app over the index; on Lite over a copy, since a database has one owner."""
    uri = bench.milvus_uri
    if bench.backend == "lite":
        uri = str(processes.copied(Path(uri), "plain.db"))
    port = processes.free_port()
    app = str(Path(__file__).with_name("plain_search.py"))
    command = [sys.executable, app, uri, "--port", str(port), "--index-type", bench.index_type]
    log = bench.folder / "plain.log"
    with processes.running(command, port, log, processes.is_ready) as process:
        yield process


# ------------------------------------------------------------------ the measurements
def contenders_of(service: str, plain: str, questions: Questions) -> list[Contender]:
    """All services; all get the same questions, except `aspect`, whose questions have 8 windows."""

    def ours(name: str, strategy: str, queries: Sequence[str]) -> Contender:
        bodies = tuple(callers.search_body(query, strategy, K) for query in queries)
        return Contender(name, f"{service}/v1/search", bodies)

    plain_bodies = tuple(json.dumps({"query": query, "k": K}).encode() for query in questions.short)
    return [
        Contender(PLAIN, f"{plain}/search", plain_bodies),
        ours("(b) standard", "standard", questions.short),
        ours("(a) mrag", "mrag", questions.short),
        ours("(a) aspect, 8 windows", "aspect", questions.long),
    ]


def measure(bench: BenchIndex, questions: Questions, latency_s: float, sweep_s: float) -> None:
    """Prints the tables of one backend."""
    with ExitStack() as stack:
        service = stack.enter_context(served.service(bench))
        plain = stack.enter_context(plain_process(bench))
        contenders = contenders_of(service.url, plain.url, questions)
        answers = asyncio.run(callers.in_turn(contenders, latency_s))
        show_latency(answers)
        show_stages({name: responses for name, responses in answers.items() if name != PLAIN})
        show_cpu(contenders, [service, plain], sweep_s)
        best = show_throughput(contenders, CALLERS[bench.backend], sweep_s)
    if bench.backend == "server":
        show_targets(answers, best)


def show_latency(answers: dict[str, list[Response]]) -> None:
    rows = []
    for name, responses in answers.items():
        middle, high, highest = callers.quantiles(responses)
        to_plain, low, top = callers.ratio(responses, answers[PLAIN])
        failed = sum(not response.ok for response in responses)
        rows.append(
            [
                name,
                f"{len(responses)}" + (f" ({failed} failed)" if failed else ""),
                f"{middle:.0f}",
                f"{high:.0f}",
                f"{highest:.0f}",
                f"{to_plain:.2f}x [{low:.2f}, {top:.2f}]",
            ]
        )
    print("\nOne caller, in turn:")
    callers.table(["", "asked", "p50 ms", "p95 ms", "p99 ms", "p50 to (c)"], rows)


def show_stages(answers: dict[str, list[Response]]) -> None:
    """Prints the median time of each stage as the answers report it, and of the rest."""
    by_name: dict[str, dict[str, float]] = {}
    for name, responses in answers.items():
        stages: dict[str, list[float]] = {}
        for response in responses:
            if not response.ok:
                continue
            seconds = dict(json.loads(response.body)["seconds"])
            inside = seconds.pop("total", sum(seconds.values()))
            seconds["between"] = inside - sum(seconds.values())
            seconds["outside"] = response.seconds - inside
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
    """Prints the CPU time of an answer by process, with few callers and idle CPU subtracted."""

    def spent() -> dict[str, float]:
        milvus = [child for child in psutil.Process().children() if "milvus" in child.name()]
        cpu_s = {"Milvus": sum(sum(child.cpu_times()[:2]) for child in milvus)} if milvus else {}
        for process in processes:
            for part, time_s in process.cpu_seconds().items():
                cpu_s[part] = cpu_s.get(part, 0.0) + time_s
        return cpu_s

    before = spent()
    time.sleep(seconds)
    idle = {part: (after - before.get(part, 0.0)) / seconds for part, after in spent().items()}
    by_name: dict[str, dict[str, float]] = {}
    for contender in contenders:
        before, began = spent(), time.monotonic()
        _, responses = asyncio.run(callers.at_once(contender, CPU_CALLERS, seconds, opens_at=0.0))
        took = time.monotonic() - began
        by_name[contender.name] = {
            part: 1e3 * (after - before.get(part, 0.0) - took * idle[part]) / max(len(responses), 1)
            for part, after in spent().items()
            if part in idle
        }
    rows = [
        [name, *(f"{parts.get(part, 0.0):.1f}" for part in idle), f"{sum(parts.values()):.0f}"]
        for name, parts in by_name.items()
    ]
    print(f"\nCPU ms of an answer, {CPU_CALLERS} callers, idle CPU of each part subtracted:")
    names = ["plain app" if part == "plain_search" else part for part in idle]
    callers.table(["", *names, "sum"], rows)
    print(f"\nIdle, all together: {100 * sum(idle.values()):.0f}% of a core")


def show_throughput(
    contenders: Sequence[Contender], steps: Sequence[int], seconds: float
) -> dict[str, float]:
    """Prints the table of the highest QPS; returns the highest QPS of each."""
    rows, best = [], {}
    for contender in contenders:
        measured = []
        for count in steps:
            qps, responses = asyncio.run(callers.at_once(contender, count, seconds))
            failed = sum(not each.ok for each in responses)
            measured.append((qps, count, callers.quantiles(responses), failed))
        qps, count, (middle, _, highest), failed = max(measured)
        best[contender.name] = qps
        rows.append(
            [
                contender.name,
                f"{qps:.1f}",
                f"{count}",
                f"{middle:.0f}",
                f"{highest:.0f}",
                f"{failed}",
                f"{qps / best[PLAIN]:.2f}x",
                " ".join(f"{each[1]}:{each[0]:.0f}" for each in measured),
            ]
        )
    print("\nMost answers a second:")
    callers.table(
        ["", "QPS", "callers", "p50 ms", "p99 ms", "failed", "to (c)", "callers:QPS"], rows
    )
    return best


def show_targets(answers: dict[str, list[Response]], best: dict[str, float]) -> None:
    """Prints each target beside the measured figure."""
    print("\nTargets on the server:")
    for name, most in P50_AT_MOST.items():
        ratio = callers.ratio(answers[name], answers[PLAIN])[0]
        print_target("p50 of " + name, f"{ratio:.2f}x (c)", f"at most {most}x", ratio <= most)
    for name, least in QPS_AT_LEAST.items():
        ratio = best[name] / best[PLAIN]
        print_target(
            "highest QPS of " + name, f"{ratio:.2f}x (c)", f"at least {least}x", ratio >= least
        )


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
    parser.add_argument(
        "--quick", action="store_true", help="a short trial run: its figures mean little"
    )
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
        settings = dict(setting.split("=", 1) for setting in options.serve)
        serve_settings = {key: json.loads(value) for key, value in settings.items()}
        lite = BenchIndex(folder, options.chunks, str(folder / "index.db"), serve_settings)
        record = served.prepare(lite)[served.EDITIONS[0]]
        with closing(wiring.index(lite.config())) as index:
            questions = served.questions(lite, index, record)
        print(
            f"{record.num_chunks:,} chunks of {record.num_documents:,} documents, "
            f"{len(record.encoder.heads)} heads, k = {K}, {len(questions.short)} questions, "
            f"{os.cpu_count()} cores"
        )
        if options.backend in ("server", "both"):
            kind = options.index_type
            data = folder / ("milvus" if kind == "FLAT" else f"milvus-{kind}")
            uri = stack.enter_context(processes.milvus_server(data))
            server = BenchIndex(folder, options.chunks, uri, serve_settings, kind)
            served.prepare(server)
            print(f"\n## Milvus 2.3.5 server, {kind}")
            measure(server, questions, latency_s, sweep_s)
            stack.close()
        if options.backend in ("lite", "both"):
            print("\n## Milvus Lite")
            measure(lite, questions, latency_s, sweep_s)
    print("\n## Batches")
    show_batching(lite, questions, sweep_s)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
