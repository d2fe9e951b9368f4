"""An evaluation's figures as tables in a terminal; the report has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mrag_pipeline.cli.terminal import line, out
from mrag_pipeline.domain.evaluation import AT_N

if TYPE_CHECKING:
    from mrag_pipeline.domain.evaluation import Evaluation, Measure, RerankGain
    from mrag_pipeline.domain.success import Interval
    from mrag_pipeline.report.paper import PaperFigures

_RANK_NAMES = {"ndcg": "nDCG", "recall": "recall", "mrr": "MRR"}


def show(evaluation: Evaluation, paper: Sequence[PaperFigures]) -> None:
    """Prints the figures that fit a terminal; the report has the rest."""
    subject = evaluation.subject
    about = (
        f": {subject.num_queries} queries over {subject.num_documents:,} documents "
        f"({subject.num_chunks:,} chunks), {subject.model}; {subject.relevance}"
    )
    out.print(line(("bold", subject.data_set), about))
    for flaw in subject.flaws:
        out.print(line(("yellow", "flaw"), f" {flaw.count} {flaw.what}"))
    first_k = evaluation.ks[0]
    by_aspects = evaluation.is_by_aspects()
    title = (
        f"success, mean over {'the numbers of aspects' if by_aspects else 'queries'}, "
        "95% intervals; "
        f"categ., all: categories and every aspect found, k = {first_k}"
    )
    _print(title, _means(evaluation, first_k))
    if by_aspects:
        _print(f"success by number of aspects, k = {first_k}", _by_aspects(evaluation, first_k))
    if evaluation.by_kind:
        _print(f"success by kind of question, k = {first_k}", _by_kind(evaluation))
    rank_ks = [k for k in evaluation.ks if k != AT_N]
    if rank_ks:
        _print("ranks by trec_eval, mean over queries, 95% intervals", _ranks(evaluation, rank_ks))
    if evaluation.reranking is not None:
        title = (
            f"reranked by {evaluation.reranking.reranker}: over the same strategy without, 95% "
            "intervals; passages scored and ms, mean of a question"
        )
        _print(title, _reranked(evaluation, evaluation.reranking, first_k, rank_ks))
    if paper:
        title = "the authors' own published means, k = n (arXiv 2406.05085): theirs, not ours"
        _print(title, _published(paper))


def _print(title: str, table: Table) -> None:
    # A table's own title is only as wide as the table.
    out.print(f"\n{title}", style="bold")
    out.print(table)


def _means(evaluation: Evaluation, first_k: str) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    table.add_column(f"k={first_k}", justify="right", no_wrap=True)
    table.add_column("over standard", justify="right", no_wrap=True)
    for k in evaluation.ks[1:]:
        table.add_column(f"k={k}", justify="right", no_wrap=True)
    table.add_column("categ.", justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    for strategy in evaluation.strategies:
        figure = evaluation.figure(strategy, "success_ratio", first_k)
        gap = figure.against("standard") if figure else None
        table.add_row(
            strategy,
            _with_width(figure.mean) if figure else "",
            _with_width(gap.interval, "+") if gap else "",
            *(_mean(evaluation, strategy, "success_ratio", k) for k in evaluation.ks[1:]),
            _mean(evaluation, strategy, "category_success_ratio", first_k),
            _mean(evaluation, strategy, "all_found", first_k),
        )
    return table


def _ranks(evaluation: Evaluation, ks: Sequence[str]) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    columns: list[tuple[Measure, str]] = [("ndcg", ks[0]), *(("recall", k) for k in ks)]
    columns.append(("mrr", ks[0]))
    for measure, k in columns:
        table.add_column(f"{_RANK_NAMES[measure]}@{k}", justify="right", no_wrap=True)
    for strategy in evaluation.strategies:
        cells = []
        for measure, k in columns:
            figure = evaluation.figure(strategy, measure, k)
            cells.append(
                _with_width(figure.mean)
                if figure and measure == "ndcg"
                else _plain(figure.mean.value if figure else None)
            )
        table.add_row(strategy, *cells)
    return table


def _reranked(
    evaluation: Evaluation, gain: RerankGain, first_k: str, rank_ks: Sequence[str]
) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    columns: list[tuple[Measure, str]] = [("success_ratio", first_k)]
    columns += [("ndcg", k) for k in rank_ks[:1]]
    for measure, k in columns:
        name = _RANK_NAMES.get(measure, "success")
        table.add_column(f"{name}, k={k}", justify="right", no_wrap=True)
        table.add_column("over without", justify="right", no_wrap=True)
    table.add_column("scored", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for strategy in evaluation.strategies:
        cells = []
        for measure, k in columns:
            figure = gain.figure(strategy, measure, k)
            difference = figure.against(strategy) if figure else None
            cells.append(_plain(figure.mean.value if figure else None))
            cells.append(_with_width(difference.interval, "+") if difference else "")
        cost = gain.costs[strategy]
        table.add_row(strategy, *cells, f"{cost.pairs:.0f}", f"{cost.ms:.0f}")
    return table


def _with_width(interval: Interval, sign: str = "") -> str:
    """`0.900 ±.013`: the value and half the interval's width."""
    half = (interval.high - interval.low) / 2.0
    return f"{interval.value:{sign}.3f} ±{f'{half:.3f}'.removeprefix('0')}"


def _mean(evaluation: Evaluation, strategy: str, measure: Measure, k: str) -> str:
    figure = evaluation.figure(strategy, measure, k)
    return _plain(figure.mean.value if figure else None)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _by_aspects(evaluation: Evaluation, first_k: str) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    for count in evaluation.subject.queries_by_aspects:
        table.add_column(str(count), justify="right")
    for strategy in evaluation.strategies:
        figure = evaluation.figure(strategy, "success_ratio", first_k)
        if figure is not None:
            table.add_row(strategy, *(f"{value:.2f}" for value in figure.by_aspects.values()))
    return table


def _by_kind(evaluation: Evaluation) -> Table:
    """One row for each kind and strategy: the mean, and success by number of aspects."""
    table = _table()
    for name in ("kind", "strategy"):
        table.add_column(name, no_wrap=True)
    table.add_column("mean", justify="right", no_wrap=True)
    for count in evaluation.subject.queries_by_aspects:
        table.add_column(str(count), justify="right")
    for kind, figures in evaluation.by_kind.items():
        for number, figure in enumerate(figures):
            table.add_row(
                line(kind) if number == 0 else "",
                figure.strategy,
                _with_width(figure.mean),
                *(
                    f"{figure.by_aspects[count]:.2f}" if count in figure.by_aspects else ""
                    for count in evaluation.subject.queries_by_aspects
                ),
            )
    return table


def _published(paper: Sequence[PaperFigures]) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    for figures in paper:
        table.add_column(figures.model, justify="right")
    for strategy in dict.fromkeys(name for figures in paper for name in figures.success_ratio):
        cells = (_plain(figures.success_ratio.get(strategy)) for figures in paper)
        table.add_row(strategy, *cells)
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
