"""`mrag evaluate`: labelled queries to success ratios, strategies side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mrag_pipeline.cli.flowing import announce, run
from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.domain.evaluation import AT_N, DEFAULT_KS
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from flows.evaluate import EvaluateResult
    from mrag_pipeline.domain.comparison import Interval
    from mrag_pipeline.domain.evaluation import Evaluation, Measure
    from mrag_pipeline.report.paper import PaperFigures

MAX_K = 1_000


def evaluate(
    data_set: Annotated[
        str | None,
        typer.Argument(
            help="wikipedia-v1, wikipedia-v2, legal-v1, legal-v2, chem-v1, chem-v2, or a folder "
            "with documents and queries of the same form."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", "-q", help="Own labelled queries (JSONL) over the live index."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", help="Names, comma-separated; all that apply if not given."),
    ] = None,
    k: Annotated[
        str, typer.Option("--k", help="Documents fetched; n: as many as the query has aspects.")
    ] = ",".join(DEFAULT_KS),
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the report; .mrag/evaluate/NAME if not given."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Take the live version as it is; build nothing.")
    ] = False,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Measure how many of each query's aspects every strategy finds.

    A data set's index, named after it, is built first; running again reuses it. The data sets
    are downloaded once, or read from the folder that MRAG_DATASETS names. One's own queries are
    lines of {"text": "...", "relevant": ["id", ["one id", "or another"]], "sub_queries": ["..."]},
    sub_queries optional.

    Examples:
        mrag evaluate wikipedia-v1
        mrag evaluate legal-v1 --strategies standard,mrag,aspect --k n,10 --out legal
        mrag evaluate wikipedia-v1 -s chunking.max_tokens=64 -i wikipedia_64
        mrag evaluate --queries mine.jsonl --index docs
    """
    if (data_set is None) == (queries is None):
        raise ConfigError(
            "neither a data set nor --queries" if queries is None else "a data set and --queries",
            "one of the two",
            "`mrag evaluate wikipedia-v1`, or `mrag evaluate --queries FILE --index NAME`",
        )
    ks = ks_of(k)
    settings_here = settings_of(settings, index)
    from mrag_pipeline.config import Config

    Config.load(config, settings_here)  # a wrong config is told before a server is started
    announce("Prefect")
    from flows.evaluate import evaluate as flow

    result: EvaluateResult = run(
        lambda: flow(
            data_set=data_set,
            queries_file=str(queries) if queries else None,
            config_file=str(config.absolute()) if config else None,
            settings=settings_here,
            strategies=names_of(strategies),
            ks=list(ks),
            out=str(folder) if folder else None,
            live_only=live,
            command=shlex.join(["mrag", *sys.argv[1:]]),
        ),
        json,
    )
    if json:
        print_json(result.evaluation.to_dict() | {"files": [str(path) for path in result.files]})
        return
    show(result.evaluation, result.paper)
    out.print(f"written: {', '.join(map(str, result.files))}", highlight=False, soft_wrap=True)


def ks_of(text: str) -> tuple[str, ...]:
    """`n,10` as ("n", "10").

    Raises: ConfigError.
    """
    ks = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for one in ks:
        if one != AT_N and not (one.isascii() and one.isdigit() and 0 < int(one) <= MAX_K):
            raise ConfigError(f"--k {text!r}", f"n, or numbers from 1 to {MAX_K}: n,10,20")
    return ks


def names_of(text: str | None) -> list[str] | None:
    """`standard, aspect` as a list; None stays None."""
    if text is None:
        return None
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def show(evaluation: Evaluation, paper: Sequence[PaperFigures]) -> None:
    """The figures that fit a terminal; the report has the rest."""
    subject = evaluation.subject
    out.print(
        f"[bold]{subject.data_set}[/]: {subject.num_queries} queries over "
        f"{subject.num_documents:,} documents ({subject.num_chunks:,} chunks), {subject.model}; "
        f"{subject.relevance}",
        highlight=False,
    )
    for flaw in subject.flaws:
        out.print(f"[yellow]flaw[/] {flaw.count} {flaw.what}", highlight=False)
    out.print(_means(evaluation, paper), highlight=False)
    if paper:
        models = "; ".join(f"{at}: {one.model}" for at, one in enumerate(paper, start=1))
        out.print(
            f"[dim]paper: the authors' own published figures (arXiv 2406.05085), measured by them "
            f"with {models}",
            highlight=False,
        )
    out.print(_by_aspects(evaluation), highlight=False)


def _means(evaluation: Evaluation, paper: Sequence[PaperFigures]) -> Table:
    first = evaluation.ks[0]
    table = _table(f"means over the numbers of aspects, k = {first}, with 95% intervals")
    table.add_column("strategy", no_wrap=True)
    table.add_column("success", justify="right", no_wrap=True)
    table.add_column("to standard", justify="right", no_wrap=True)
    for k in evaluation.ks[1:]:
        table.add_column(f"k={k}", justify="right", no_wrap=True)
    table.add_column("categ.", justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    # The published means are at k = n.
    theirs = paper if first == AT_N else ()
    for at in range(1, len(theirs) + 1):
        table.add_column(f"paper {at}", justify="right", no_wrap=True, style="dim")
    names = [name for one in theirs for name in one.success_ratio]
    for strategy in dict.fromkeys([*evaluation.strategies, *names]):
        figure = evaluation.figure(strategy, "success_ratio", first)
        gap = figure.against("standard") if figure else None
        table.add_row(
            strategy,
            _with_width(figure.mean) if figure else "",
            _with_width(gap.interval, "+") if gap else "",
            *(_mean(evaluation, strategy, "success_ratio", k) for k in evaluation.ks[1:]),
            _mean(evaluation, strategy, "category_success_ratio", first),
            _mean(evaluation, strategy, "all_found", first),
            *(_plain(one.success_ratio.get(strategy)) for one in theirs),
        )
    return table


def _with_width(interval: Interval, sign: str = "") -> str:
    """`0.900 ±.013`: half the interval's width, to two digits that matter."""
    half = (interval.high - interval.low) / 2.0
    return f"{interval.value:{sign}.3f} ±{f'{half:.3f}'.removeprefix('0')}"


def _mean(evaluation: Evaluation, strategy: str, measure: Measure, k: str) -> str:
    figure = evaluation.figure(strategy, measure, k)
    return _plain(figure.mean.value if figure else None)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _by_aspects(evaluation: Evaluation) -> Table:
    first = evaluation.ks[0]
    table = _table(f"success by number of aspects, k = {first}")
    table.add_column("strategy", no_wrap=True)
    for count in evaluation.subject.queries_by_aspects:
        table.add_column(str(count), justify="right")
    for strategy in evaluation.strategies:
        figure = evaluation.figure(strategy, "success_ratio", first)
        if figure is not None:
            table.add_row(strategy, *(f"{value:.2f}" for value in figure.by_aspects.values()))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, padding=(0, 1), header_style="bold")
