"""What would make a question cheaper: what each idea loses and saves beside the default strategy.

    MRAG_DATASETS=... python benchmarks/vote_ideas.py          keeps embeddings in .mrag/votes

Everything runs in one process: MiniLM, the product's own windows, vote and vectors in memory, and
the ways to search of `vote_methods.py` in place of the product's. What is lost: the share of the
default's first 10 documents that is kept, and the difference of the set's measure; means over
questions with their 95% intervals. What is saved: CPU time beside the default's for the same
questions, asked in turn, over 20,000 chunks of all sets; medians of the rounds, with the lowest and
the highest. Writes `figures/vote_ideas.json`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from figure import figure, keep
from numpy.typing import NDArray
from recorded_queries import KeptEncoder
from vote_methods import METHODS, Method, MethodIndex, MethodOf
from vote_sets import (
    Asked,
    Corpus,
    K,
    config_of,
    embedded,
    labelled_queries,
    opened,
    timed_queries,
    together,
    values_of,
)
from vote_stop import Stops, stops
from vote_tables import ALL, SETS, tables
from vote_times import Figures, encoder_times, search_times

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.domain.success import Resamples
from mrag_pipeline.ports import Ranking
from mrag_pipeline.query.joint_search import search_joined
from mrag_pipeline.query.plan import plan_search
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.query.vote import collect_votes, weigh_windows
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.wiring.labelled import data_set_folder

FIGURES = Path(__file__).parent / "figures" / "vote_ideas.json"
FOLDER = Path(".mrag/votes")
CHUNKS, ROUNDS, TIMED = 20_000, 5, 16
KINDS = {"one subject": (1,), "two or three subjects": (2, 3)}
DTYPES = ("bfloat16", "int8")
BATCH, BATCHES = 16, 200  # questions in a batch of several callers; batches that are drawn
KS = (1, 5, 10)

Found = list[list[str]]


# ------------------------------------------------------------------ what is lost
def found_by(method: Method, asked: Sequence[Asked], words: dict[object, Ranking]) -> Found:
    """The documents of each question's answer, best first."""
    index = MethodIndex(method, words)
    searcher = Searcher(index, method.corpus.record)
    found = []
    for one in asked:
        index.question = one.question
        [answer] = searcher.search([one.question])
        found.append([document.hit.document_id for document in answer.found])
    return found


def mean(values: NDArray[np.float64], unit: str) -> dict[str, float | str]:
    """The mean over questions, with its 95% interval."""
    one_group = np.zeros(len(values), np.int64)
    [interval] = Resamples(one_group).intervals(values[:, None])
    low, high = round(interval.low, 3), round(interval.high, 3)
    return {"value": round(interval.value, 3), "low": low, "high": high, "unit": unit}


def losses(
    title: str, corpus: Corpus, asked: Sequence[Asked], default: Found, found: Found
) -> Figures:
    """What an idea's answers lose beside the default's."""
    name = corpus.name
    kept = [
        len({*a[:K]} & {*b[:K]}) / max(1, len(a[:K])) for a, b in zip(default, found, strict=True)
    ]
    figures = {f"{title}: kept of the first 10, {name}": mean(np.array(kept), "share")}
    if name in SETS:
        queries = [one.labelled for one in asked]
        gap = values_of(name, queries, found) - values_of(name, queries, default)
        label = f"{title}: {SETS[name]} beside the default's, {name}"
        figures[label] = mean(gap, "difference")
    return figures


def heads_left_out(corpus: Corpus, asked: Sequence[Asked], words: dict[object, Ranking]) -> Figures:
    """How many heads need not be searched until the first k cannot change; and by the gate."""
    index, spec = MethodIndex(Method(corpus), words), RetrieveSpec()
    every: list[Stops] = []
    closed: list[float] = []
    for one in asked:
        index.question = one.question
        plan = plan_search(one.question, corpus.record, spec)
        [rankings] = search_joined(index, [plan.voters.requests], Deadline(None))
        votes = collect_votes(plan, rankings, spec.depth.candidates)
        every.append(stops(votes, corpus.documents, KS))
        weights = weigh_windows(plan, rankings[corpus.heads.shape[1]])
        assert weights is not None
        closed.append(float((weights == 0.0).mean()))
    figures: Figures = {}
    num_heads = corpus.heads.shape[1]
    for k in KS:
        for title, left_out in (
            (f"first {k} and their order", [stop.proven[k] for stop in every]),
            ("the same, windows' weights known", [stop.order[k] for stop in every]),
            (f"first {k} in any order, weights known", [stop.chosen[k] for stop in every]),
        ):
            shares = np.array(left_out) / num_heads
            label = f"stop early, {title}, k = {k}: heads left out, {corpus.name}"
            figures[label] = mean(shares, "share")
    label = f"heads only for the windows that count: searches left out, {corpus.name}"
    return figures | {label: mean(np.array(closed), "share")}


def repeats(name: str, asked: Sequence[Asked]) -> Figures:
    """How many windows another question has had, and how many a batch has twice."""
    windows = [[w.text for w in one.question.embedded.windows] for one in asked]
    seen: set[str] = set()
    again: list[float] = []
    for texts in windows:
        again.append(sum(text in seen for text in texts) / len(texts))
        seen.update(texts)
    draw = np.random.default_rng(5)
    shared: list[float] = []
    for _ in range(BATCHES):
        rows = draw.choice(len(windows), min(BATCH, len(windows)), replace=False).tolist()
        texts = [text for row in rows for text in windows[row]]
        shared.append(1.0 - len(set(texts)) / len(texts))
    return {
        f"windows that an earlier question had, {name}": mean(np.array(again), "share"),
        f"windows that another question of its batch of {BATCH} has, {name}": mean(
            np.array(shared), "share"
        ),
    }


# ------------------------------------------------------------------ all of it
def lost_in(corpus: Corpus, asked: Sequence[Asked], ways: Mapping[str, MethodOf]) -> Figures:
    """What each way to search loses in a corpus; of all ways, also what describes its questions."""
    words: dict[object, Ranking] = {}
    default = found_by(Method(corpus), asked, words)
    figures: Figures = {}
    for title, method_of in ways.items():
        found = found_by(method_of(corpus), asked, words)
        figures |= losses(title, corpus, asked, default, found)
    if len(ways) < len(METHODS):
        return figures
    figures |= heads_left_out(corpus, asked, words)
    figures |= repeats(corpus.name, asked)
    figures[f"chunks, {corpus.name}"] = figure([float(len(corpus.ids))], "chunks", 0)
    num_windows = [float(len(one.question.embedded.windows)) for one in asked]
    label = f"windows of a question, {corpus.name}"
    return figures | {label: mean(np.array(num_windows), "windows")}


def lost_by_questions(
    dtype: str, corpus: Corpus, asked: Sequence[Asked], others: Sequence[Asked]
) -> Figures:
    """What the same questions lose if they are embedded in another type."""
    default = found_by(Method(corpus), asked, {})
    found = found_by(Method(corpus), others, {})
    return losses(f"questions in {dtype}", corpus, asked, default, found)


def measure(num_rounds: int, names: Sequence[str], ways: Mapping[str, MethodOf]) -> Figures:
    """All figures; of one way those that are its own, with times for each set's questions too."""
    figures: Figures = {}
    dtypes = DTYPES if len(ways) == len(METHODS) else ()
    plain = {dtype: wiring.encoder(config_of(dtype), 1) for dtype in ("float32", *dtypes)}
    segmenter = wiring.segmenter(config_of(), plain["float32"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    encoder = KeptEncoder(plain["float32"], FOLDER / "float32.npz")
    corpora = [opened(name, encoder, segmenter) for name in names]
    corpora.append(together(corpora, CHUNKS))
    timed = {kind: timed_queries(aspects, TIMED) for kind, aspects in KINDS.items()}
    asked_of = {}
    for corpus in corpora:
        queries = [query for of_kind in timed.values() for query in of_kind]
        if corpus.name != ALL:
            queries = list(labelled_queries(corpus.name)[0])
        asked_of[corpus.name] = embedded(queries, plain["float32"], segmenter)
        figures |= lost_in(corpus, asked_of[corpus.name], ways)
        for dtype in dtypes:
            asked = embedded(queries, plain[dtype], segmenter)
            figures |= lost_by_questions(dtype, corpus, asked_of[corpus.name], asked)
        print(f"{corpus.name}: {len(corpus.ids):,} chunks, {len(queries)} questions", flush=True)
    methods = {"default": Method(corpora[-1])}
    methods |= {title: method_of(corpora[-1]) for title, method_of in ways.items()}
    words: dict[object, Ranking] = {}

    def answer(method: Method, asked: Sequence[Asked]) -> Found:
        return found_by(method, asked, words)

    for number, kind in enumerate(KINDS):
        asked = asked_of[ALL][number * TIMED : (number + 1) * TIMED]
        figures |= search_times(methods, answer, kind, asked, num_rounds)
        if dtypes:
            figures |= encoder_times(plain, segmenter, kind, asked, num_rounds)
    for name in names if len(ways) == 1 else ():
        asked = asked_of[name][:TIMED]
        figures |= search_times(methods, answer, name, asked, num_rounds)
    return figures


def main() -> None:
    """Measures, prints, and keeps the figures of a whole run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sets", default=",".join(SETS), help="a trial run keeps no figures")
    parser.add_argument("--only", choices=METHODS, help="this way alone; the others' figures stay")
    options = parser.parse_args()
    library_settings.settle()
    if data_set_folder() is None:
        # Not a failure: `make bench` goes on to the other benchmarks.
        print("skipped: MRAG_DATASETS is not set: the folder of labelled queries", file=sys.stderr)
        return
    ways = {options.only: METHODS[options.only]} if options.only else METHODS
    figures = measure(options.rounds, options.sets.split(","), ways)
    for table in tables(figures):
        print(f"\n{table}")
    if options.sets == ",".join(SETS):
        keep(FIGURES, figures)


if __name__ == "__main__":
    main()
