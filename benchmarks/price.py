"""What the default costs beside a plain service of one vector: `python benchmarks/price.py`.

On a Milvus 2.3.5 server with served.py's 20,000 chunks (the first run builds them in --folder and
takes some minutes more), `mrag serve` at its defaults answers questions of one subject and of two
or three by the default strategy, and plain_search.py the same questions by one vector each. The
questions are made from the chunks' documents, half of them from key phrases, half from clauses
(domain/made_questions.py); the default cuts them as it does.

Latency: one caller asks each service in turn. Rates: callers ask again as soon as answered, asking
the services in turn. Ratios are of ours to the plain service's in the same round, for the same
questions: medians of the rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import callers
import processes
import serve
import served
from callers import Contender, Response, print_target
from figure import figure, keep
from served import BenchIndex

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.made_questions import made_questions

FIGURES = Path(__file__).parent / "figures" / "speed.json"
FOLDER = Path(".mrag/bench")  # kept between runs
CHUNKS, K, NUM_QUESTIONS = 20_000, 10, 64
KINDS = ("short", "sentence")
SUBJECTS = {"one subject": (1,), "two or three": (2, 3)}  # aspects, by the name of the questions
ROUNDS, WARM_UP_S, LATENCY_S, RATE_S = 6, 40.0, 10.0, 2.5
CALLERS = (8, 16, 32)
P50_AT_MOST = {"one subject": 1.8, "two or three": 2.5}
RATE_AT_LEAST = {"two or three": 0.45}


@dataclass(frozen=True)
class Round:
    """One round: responses of one caller, and the highest rates, by contender."""

    responses: Mapping[str, list[Response]]
    rates: Mapping[str, float]


def questions(folder: Path) -> dict[str, list[str]]:
    """Questions of the served documents, by their number of subjects."""
    lines = [json.loads(line) for line in (folder / f"{served.EDITIONS[0]}.jsonl").open()]
    documents = [Document(line["id"], line["text"], line["title"], {}) for line in lines]
    made = {}
    for name, aspects in SUBJECTS.items():
        queries = made_questions(documents, 4 * NUM_QUESTIONS, aspects=aspects).queries
        texts = [query.text for query in queries if query.kind in KINDS]
        made[name] = texts[:NUM_QUESTIONS]
    return made


def contenders(ours: str, plain: str, asked: Mapping[str, Sequence[str]]) -> list[Contender]:
    """Both services with each kind of question."""
    made = []
    for subjects, texts in asked.items():
        bodies = tuple(json.dumps({"query": text, "k": K}).encode() for text in texts)
        made.append(Contender(f"plain, {subjects}", f"{plain}/search", bodies))
        made.append(Contender(f"default, {subjects}", f"{ours}/v1/search", bodies))
    return made


def one_round(asked: Sequence[Contender], quick: bool) -> Round:
    """Every contender's responses and highest rate."""
    seconds, rate_s = (4.0, 1.0) if quick else (LATENCY_S, RATE_S)
    responses = asyncio.run(callers.in_turn(asked, seconds))
    rates = {contender.name: 0.0 for contender in asked}
    for count in CALLERS:
        for contender in asked:
            rate, answered = asyncio.run(callers.at_once(contender, count, rate_s))
            if not all(response.ok for response in answered):
                raise SystemExit(f"{contender.name}: {count} callers were not all answered")
            rates[contender.name] = max(rates[contender.name], rate)
    return Round(responses, rates)


def figures_of(rounds: Sequence[Round]) -> dict[str, dict[str, float | str]]:
    """The figures, by name: times and rates of each, ratios of ours to the plain service's."""
    figures = {}
    for subjects in SUBJECTS:
        p50 = {
            name: [
                1e3
                * statistics.median(one.seconds for one in each.responses[f"{name}, {subjects}"])
                for each in rounds
            ]
            for name in ("plain", "default")
        }
        rate = {
            name: [each.rates[f"{name}, {subjects}"] for each in rounds]
            for name in ("plain", "default")
        }
        for name in ("plain", "default"):
            figures[f"{name}, {subjects}, p50"] = figure(p50[name], "ms", 1)
            figures[f"{name}, {subjects}, highest rate"] = figure(rate[name], "a second", 1)
        for what, values in (("p50", p50), ("highest rate", rate)):
            ratios = [a / b for a, b in zip(values["default"], values["plain"], strict=True)]
            figures[f"default to plain, {subjects}, {what}"] = figure(ratios, "x", 2)
    return figures


def show(figures: Mapping[str, Mapping[str, float | str]]) -> None:
    """Prints the figures, and the targets beside theirs."""
    for name, one in figures.items():
        print(f"{name:45} {one['value']:7} {one['unit']} [{one['low']}, {one['high']}]")
    print("\nTargets:")
    for what, targets in (("p50", P50_AT_MOST), ("highest rate", RATE_AT_LEAST)):
        for subjects, wanted in targets.items():
            name = f"default to plain, {subjects}, {what}"
            value = float(figures[name]["value"])
            met = value <= wanted if what == "p50" else value >= wanted
            bound = "at most" if what == "p50" else "at least"
            print_target(name, f"{value}x", f"{bound} {wanted}x", met)


def show_windows(responses: Mapping[str, Sequence[Response]]) -> None:
    """Prints how the default cut the questions and how much it searched."""
    rows = []
    for name, answered in responses.items():
        bodies = [json.loads(response.body) for response in answered]
        windows = [len(body["windows"]) for body in bodies]
        searches = [body["num_searches"] for body in bodies]
        means = [statistics.mean(windows), statistics.mean(searches)]
        rows.append([name, *(f"{mean:.1f}" for mean in means), f"{min(windows)} to {max(windows)}"])
    callers.table(["", "windows", "searches of a window", "windows from, to"], rows)


def measure(folder: Path, num_rounds: int, quick: bool = False, index_type: str = "FLAT") -> None:
    """Measures, prints, and keeps the figures unless it is a quick trial run."""
    folder = folder.absolute() / str(CHUNKS)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        data = folder / ("milvus" if index_type == "FLAT" else f"milvus-{index_type}")
        uri = stack.enter_context(processes.milvus_server(data))
        bench = BenchIndex(folder, CHUNKS, uri, index_type=index_type)
        record = served.prepare(bench)[served.EDITIONS[0]]
        with closing(wiring.index(bench.config())):
            print(f"{record.num_chunks:,} chunks, {len(record.encoder.heads)} heads, {index_type}")
        ours = stack.enter_context(served.service(bench))
        plain = stack.enter_context(serve.plain_process(bench))
        asked = contenders(ours.url, plain.url, questions(folder))
        # Until the service has the vectors in memory and nothing is asked for the first time.
        asyncio.run(callers.in_turn(asked, WARM_UP_S))
        rounds = []
        for _ in range(num_rounds):
            rounds.append(one_round(asked, quick))
        answers = {
            contender.name: [one for each in rounds for one in each.responses[contender.name]]
            for contender in asked
            if contender.name.startswith("default")
        }
        show_windows(answers)
        serve.show_stages(answers)
        serve.show_cpu(asked, [ours, plain], RATE_S)
    figures = figures_of(rounds)
    show(figures)
    if not quick and index_type == "FLAT":
        keep(FIGURES, figures)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="kept between runs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--index-type", choices=("FLAT", "HNSW"), default="FLAT", help="of both")
    parser.add_argument("--quick", action="store_true", help="a trial run; keeps no figures")
    options = parser.parse_args()
    library_settings.settle()
    began = time.monotonic()
    measure(options.folder, options.rounds, options.quick, options.index_type)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
