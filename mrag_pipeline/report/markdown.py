"""An evaluation as a Markdown page: figures with intervals, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mrag_pipeline.domain.evaluation import (
    AT_N,
    BASELINE,
    RANK_MEASURES,
    Evaluation,
    Figure,
    Measure,
)
from mrag_pipeline.domain.success import LEVEL, RESAMPLES
from mrag_pipeline.report.paper import PaperFigures

_TITLES: dict[Measure, str] = {
    "success_ratio": "Success ratio",
    "category_success_ratio": "Category success ratio",
    "all_found": "All aspects found",
    "ndcg": "nDCG",
    "recall": "Recall",
    "mrr": "Mean reciprocal rank",
}
_MEANING: dict[Measure, str] = {
    "success_ratio": "The share of a query's aspects found among the k fetched documents.",
    "category_success_ratio": "The same over the categories that the aspects belong to.",
    "all_found": "The share of queries of which every aspect was found.",
    "ndcg": "Normalised discounted cumulative gain of the first k documents (trec_eval).",
    "recall": "The share of a query's relevant documents among the first k (trec_eval).",
    "mrr": "1 / the rank of the first relevant document, 0 below rank k (trec_eval).",
}


def page(
    evaluation: Evaluation, paper: Sequence[PaperFigures], command: str, plots: Sequence[str]
) -> str:
    """The whole page.

    Args:
        paper: the authors' figures on this data set; may be empty.
        command: the command that reproduces the page.
        plots: file names beside the page.
    """
    subject = evaluation.subject
    parts = [
        f"# {subject.data_set}: success of {len(evaluation.strategies)} strategies",
        f"Made by `{command}`.",
        _table(("", ""), _facts(evaluation)),
        f"What counts: {subject.relevance}.",
        _flaws(evaluation),
        f"Intervals hold {LEVEL:.0%} of {RESAMPLES:,} bootstrap resamples of the queries"
        f"{', drawn within each number of aspects' if evaluation.is_by_aspects() else ''}; "
        "differences are paired, on the same draws. "
        + (
            "Success is the mean over the numbers of aspects, each counting the same; other "
            "measures are means over the queries."
            if evaluation.is_by_aspects()
            else "Means are over the queries."
        ),
    ]
    for measure in _TITLES:
        parts += _measure(evaluation, measure)
    parts += _reranking(evaluation)
    parts += _kinds(evaluation)
    parts += _paper(evaluation, paper)
    if plots:
        parts += ["## Plots", *(f"![{name}]({name})" for name in plots)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(evaluation: Evaluation) -> Iterable[tuple[str, ...]]:
    subject = evaluation.subject
    counts = ", ".join(f"{n}: {count}" for n, count in subject.queries_by_aspects.items())
    yield "queries", f"{subject.num_queries} (by number of aspects: {counts})"
    yield "index", f"{subject.index} {subject.version}"
    yield "documents", f"{subject.num_documents:,} in {subject.num_chunks:,} chunks"
    yield "model", subject.model
    if evaluation.seconds:
        took = ", ".join(f"{name} {value:.1f}" for name, value in evaluation.seconds.items())
        yield "seconds", took


def _flaws(evaluation: Evaluation) -> str:
    flaws = evaluation.subject.flaws
    if not flaws:
        return "No flaws were found in the set."
    return "\n".join(["Flaws found in the set:", *(f"- {flaw}" for flaw in flaws)])


def _measure(evaluation: Evaluation, measure: Measure) -> list[str]:
    shown = {
        k: [
            figure
            for strategy in evaluation.strategies
            if (figure := evaluation.figure(strategy, measure, k)) is not None
        ]
        for k in evaluation.ks
    }
    if not any(shown.values()):
        return []
    shown = {k: figures for k, figures in shown.items() if figures}
    parts = [f"## {_TITLES[measure]}", _MEANING[measure], _means(shown)]
    if measure in RANK_MEASURES or not evaluation.is_by_aspects():
        return parts
    for k, figures in shown.items():
        parts += [f"By number of aspects, k = {k}:", _by_aspects(figures)]
    return parts


def _means(shown: dict[str, list[Figure]]) -> str:
    first = next(iter(shown))
    baselines = list(
        dict.fromkeys(
            difference.strategy for figure in shown[first] for difference in figure.differences
        )
    )
    header = (
        "strategy",
        *(f"k = {k}" for k in shown),
        *(f"minus {baseline}, k = {first}" for baseline in baselines),
    )
    rows = []
    for row_index, figure in enumerate(shown[first]):
        cells = [figure.strategy, *(str(figures[row_index].mean) for figures in shown.values())]
        for baseline in baselines:
            gap = figure.against(baseline)
            cells.append(f"{gap.interval}{'' if gap.is_clear else ' (unclear)'}" if gap else "")
        rows.append(tuple(cells))
    return _table(header, rows)


def _by_aspects(figures: Sequence[Figure]) -> str:
    counts = list(figures[0].by_aspects)
    rows = [
        (
            figure.strategy,
            *(f"{figure.by_aspects[n]:.3f}" for n in counts),
            f"**{figure.mean.value:.3f}**",
        )
        for figure in figures
    ]
    return _table(("strategy", *map(str, counts), "mean"), rows)


def _reranking(evaluation: Evaluation) -> list[str]:
    gain = evaluation.reranking
    if gain is None:
        return []
    parts = [
        f"## Reranked by {gain.reranker}",
        "The same strategies with their documents in the reranker's order, and the paired "
        "difference to each without it.",
    ]
    for measure in _TITLES:
        for k in evaluation.ks:
            rows = []
            for strategy in evaluation.strategies:
                plain = evaluation.figure(strategy, measure, k)
                figure = gain.figure(strategy, measure, k)
                difference = figure.against(strategy) if figure else None
                if plain and figure and difference:
                    unclear = "" if difference.is_clear else " (unclear)"
                    found = (str(plain.mean), str(figure.mean), f"{difference.interval}{unclear}")
                    rows.append((strategy, *found))
            if rows:
                header = ("strategy", "without", "reranked", "difference")
                parts += [f"{_TITLES[measure]}, k = {k}:", _table(header, rows)]
    costs = [
        (strategy, f"{cost.pairs:.1f}", f"{cost.ms:.1f}") for strategy, cost in gain.costs.items()
    ]
    parts += [
        "What a question costs, on the mean: the passages that are scored, by the mean time of one "
        "in this run.",
        _table(("strategy", "passages scored", "ms"), costs),
    ]
    return parts


def _kinds(evaluation: Evaluation) -> list[str]:
    if not evaluation.by_kind:
        return []
    parts = [f"## Success ratio by kind of question, k = {evaluation.ks[0]}"]
    for kind, figures in evaluation.by_kind.items():
        parts += [f"### {kind or 'no kind named'}", _means({evaluation.ks[0]: list(figures)})]
        if evaluation.is_by_aspects():
            parts += ["By number of aspects:", _by_aspects(figures)]
    return parts


def _paper(evaluation: Evaluation, paper: Sequence[PaperFigures]) -> list[str]:
    if not paper:
        return []
    ours = {
        strategy: figure.mean.value
        for strategy in evaluation.strategies
        if (figure := evaluation.figure(strategy, "success_ratio", AT_N)) is not None
    }
    published = (strategy for figures in paper for strategy in figures.success_ratio)
    strategies = list(dict.fromkeys([*ours, *published]))
    header = (
        "success ratio, k = n, mean",
        f"**ours, measured here**: {evaluation.subject.model}",
        *(f"*theirs, published*: {figures.model}" for figures in paper),
    )
    rows = [
        (
            strategy,
            _cell(ours.get(strategy)),
            *(_cell(figures.success_ratio.get(strategy)) for figures in paper),
        )
        for strategy in strategies
    ]
    return [
        "## Beside the paper's published figures",
        "The columns marked *theirs* are copied from the authors' own results (arXiv 2406.05085, "
        "github.com/spcl/MRAG), with another model and another harness; none of them was "
        "measured here. Their fusion strategies ask an LLM for sub-queries.",
        _table(header, rows),
        f"Compare down a column: what a strategy gains over `{BASELINE}` with the same model.",
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
