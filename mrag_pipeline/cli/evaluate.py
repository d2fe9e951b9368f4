"""`mrag evaluate`: measures success ratios on labelled queries, strategies side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json
from mrag_pipeline.domain.evaluation import AT_N, DEFAULT_KS
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from mrag_pipeline.domain.evaluation import Evaluation, Measure, RerankGain
    from mrag_pipeline.domain.success import Interval
    from mrag_pipeline.flows.evaluate import EvaluateResult
    from mrag_pipeline.report.paper import PaperFigures

MAX_K = 1_000
DEFAULT_QUESTIONS = 120
MAX_QUESTIONS = 10_000
_RANK_NAMES = {"ndcg": "nDCG", "recall": "recall", "mrr": "MRR"}


@shared_options()
def evaluate(
    shared: SharedOptions,
    data_set: Annotated[
        str | None,
        typer.Argument(
            help="wikipedia-v1, wikipedia-v2, legal-v1, legal-v2, chem-v1, chem-v2, or a folder: "
            "BEIR's (corpus.jsonl, queries.jsonl, qrels), or documents and queries in the paper's "
            "form."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            "-q",
            help="Your own labelled queries for the live version: JSONL, or TREC topics.",
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="TREC or BEIR judgements of --queries, if those are topics."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies", help="Comma-separated strategies; all that apply if not given."
        ),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            help="Comma-separated numbers of documents to fetch; n: one per aspect of the query.",
        ),
    ] = ",".join(DEFAULT_KS),
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the report; .mrag/evaluate/NAME if not given."
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Evaluate the live version as it is; build nothing.")
    ] = False,
    of_self: Annotated[
        bool,
        typer.Option("--self", help="Ask the live version questions made from its own documents."),
    ] = False,
    questions: Annotated[
        int,
        typer.Option(
            "--questions", min=1, max=MAX_QUESTIONS, help="With --self: how many are made."
        ),
    ] = DEFAULT_QUESTIONS,
    seed: Annotated[
        int, typer.Option("--seed", help="With --self: which documents they are made from.")
    ] = 0,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="With --self: write the questions here, for --queries (JSONL)."
        ),
    ] = None,
) -> None:
    """Measure what every strategy finds of labelled queries, beside ordinary RAG and BM25.

    With a reranker ([rerank]), what it buys and costs each strategy is measured too.

    A data set's index, named after it, is built first; a second run reuses it. Data sets are
    downloaded once, or read from the folder in MRAG_DATASETS. Each line of your own queries is
    {"text": "...", "relevant": ["id", ["one id", "or another"]], "sub_queries": ["..."]};
    sub_queries is optional.

    --self needs no queries: it makes short, sentence-like and long questions of 1 to 10 aspects
    from a sample of the live version's documents, without a language model. Look at them and
    correct them with --export; a name in "kind" groups them in the report.

    Examples:
        mrag evaluate wikipedia-v1
        mrag evaluate legal-v1 --strategies standard,mrag,aspect --k n,10 --out legal
        mrag evaluate wikipedia-v1 -s chunking.max_tokens=64 -i wikipedia_64
        mrag evaluate beir/scifact --k 10,100
        mrag evaluate --queries mine.jsonl --index docs
        mrag evaluate --queries topics.txt --qrels qrels.txt --index docs
        mrag evaluate --self --index docs
        mrag evaluate --self --questions 300 --export questions.jsonl
    """
    check_subject(data_set, queries, of_self, export)
    if qrels is not None and queries is None:
        raise ConfigError("--qrels without --queries", "the topics that it judges", "add --queries")
    ks = ks_of(k)
    shared.load()  # a wrong config fails before a server is started
    config_file, settings = shared.for_flow()

    def flow() -> EvaluateResult:
        from mrag_pipeline.flows.evaluate import evaluate as evaluate_flow

        return evaluate_flow(
            data_set=data_set,
            queries_file=str(queries) if queries else None,
            qrels_file=str(qrels) if qrels else None,
            config_file=config_file,
            settings=settings,
            strategies=names_of(strategies),
            ks=list(ks),
            out=str(folder) if folder else None,
            live_only=live,
            command=shlex.join(["mrag", *sys.argv[1:]]),
            num_questions=questions if of_self else 0,
            seed=seed,
            export=str(export) if export else None,
        )

    result = run_flow("Prefect", flow, shared.json)
    if shared.json:
        print_json(result.evaluation.to_dict() | {"files": [str(path) for path in result.files]})
        return
    show(result.evaluation, result.paper)
    out.print(f"written: {', '.join(map(str, result.files))}", soft_wrap=True)


def check_subject(
    data_set: str | None, queries: Path | None, of_self: bool, export: Path | None
) -> None:
    """Refuses anything but one of a data set, --queries and --self.

    Raises: ConfigError.
    """
    given = {"a data set": data_set is not None, "--queries": queries is not None}
    given["--self"] = of_self
    named = [name for name, is_given in given.items() if is_given]
    if len(named) != 1:
        raise ConfigError(
            " and ".join(named) or "neither a data set nor --queries nor --self",
            "one of the three",
            "`mrag evaluate wikipedia-v1`, `mrag evaluate --queries FILE --index NAME` or "
            "`mrag evaluate --self`",
        )
    if export is not None and not of_self:
        raise ConfigError("--export without --self", "questions to write", "add --self")


def ks_of(text: str) -> tuple[str, ...]:
    """The numbers of documents in a text such as `n,10`.

    Raises: ConfigError.
    """
    ks = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for k in ks:
        if k != AT_N and not (k.isascii() and k.isdigit() and 0 < int(k) <= MAX_K):
            raise ConfigError(f"--k {text!r}", f"n, or numbers from 1 to {MAX_K}, such as n,10,20")
    return ks


def names_of(text: str | None) -> list[str] | None:
    """`standard, aspect` as a list; None stays None."""
    if text is None:
        return None
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


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
