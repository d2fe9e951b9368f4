"""CPU times of the ways to search and to embed, asked in turn, for `vote_ideas.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from figure import figure
from vote_methods import GATED, Method, Standard
from vote_sets import Asked

from mrag_pipeline.ports import Encoder, SearchRequest, Segmenter
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.plan import plan_search
from mrag_pipeline.settings.retrieve import RetrieveSpec

Figures = dict[str, dict[str, float | str]]


def seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """The CPU seconds of a call."""
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def ratios(rounds: Sequence[Mapping[str, float]], title: str, base: str) -> Figures:
    """Each one's time beside the base's in the same round, and the base's in milliseconds."""
    figures: Figures = {}
    for name in rounds[0]:
        if name != base:
            shares = [one[name] / one[base] for one in rounds]
            figures[f"{name}: {title}"] = figure(shares, "x")
    figures[f"{base}: {title}"] = figure([1e3 * one[base] for one in rounds], "ms", 2)
    return figures


def search_times(
    methods: Mapping[str, Method],
    answer: Callable[[Method, Sequence[Asked]], object],
    kind: str,
    asked: Sequence[Asked],
    num_rounds: int,
) -> Figures:
    """The time of searching vectors, of searching the standard vector alone, and of an answer.

    Args:
        answer: all after the embedding: searching vectors, voting, reading; words for free.
    """
    answering = {name: methods[name] for name in ("default", GATED) if name in methods}
    for method in answering.values():
        answer(method, asked)  # words are searched
    default = methods["default"]
    batches = [
        plan_search(one.question, default.corpus.record, RetrieveSpec()).voters.requests
        for one in asked
    ]
    whole: list[dict[str, float]] = []
    alone: list[dict[str, float]] = []
    answers: list[dict[str, float]] = []
    for _ in range(num_rounds):
        spent = dict.fromkeys(methods, 0.0)
        of_standard = {n: 0.0 for n, m in methods.items() if isinstance(m, Standard)}
        of_standard["default"] = 0.0
        of_answers = dict.fromkeys(answering, 0.0)
        for one, batch in zip(asked, batches, strict=True):
            vectors = [request for request in batch if isinstance(request, SearchRequest)]
            heads = [default.corpus.held.search(request) for request in vectors[:-1]]
            for name, method in methods.items():
                spent[name] += seconds_of(method.search, vectors, one.question)
                if isinstance(method, Standard):
                    of_standard[name] += seconds_of(method.standard, vectors[-1], heads)
            of_standard["default"] += seconds_of(default.corpus.held.search, vectors[-1])
            for name, method in answering.items():
                of_answers[name] += seconds_of(answer, method, [one])
        whole.append({name: total / len(asked) for name, total in spent.items()})
        alone.append({name: total / len(asked) for name, total in of_standard.items()})
        answers.append({name: total / len(asked) for name, total in of_answers.items()})
    title = f"a question of {kind}"
    return {
        **ratios(whole, f"time of searching vectors, {title}", "default"),
        **ratios(alone, f"time of the standard vector's search, {title}", "default"),
        **ratios(answers, f"all after embedding, {title}", "default"),
    }


def encoder_times(
    encoders: Mapping[str, Encoder],
    segmenter: Segmenter,
    kind: str,
    texts: Sequence[Asked],
    num_rounds: int,
) -> Figures:
    """The time of embedding a question, cutting it included."""
    embedders = {name: QueryEmbedder(encoder, segmenter) for name, encoder in encoders.items()}
    rounds = []
    for _ in range(num_rounds):
        spent = dict.fromkeys(embedders, 0.0)
        for one in texts:
            for name, embedder in embedders.items():
                spent[name] += seconds_of(embedder.embed, [one.question.query])
        rounds.append({name: total / len(texts) for name, total in spent.items()})
    return ratios(rounds, f"time of embedding a question of {kind}", "float32")
