"""`mrag search`: the live version's hits for a query, and which heads voted for them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from functools import partial
from json import loads
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.domain.filters import EXAMPLE, Filter, parse
from mrag_pipeline.domain.strategies import strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.query.answer import Answer, FoundDocument
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.question import Query
from mrag_pipeline.query.rerank import is_reranked
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.stages.versions.lookup import live_record

SNIPPET_CHARS = 160
BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"found": "green", "weak": "yellow", "nothing here": "red"}


@shared_options()
def search(
    shared: SharedOptions,
    queries: Annotated[list[str], typer.Argument(help="One or more queries.", metavar="QUERY...")],
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="Documents to fetch. Default: retrieve.k."),
    ] = None,
    strategy_name: Annotated[
        str,
        typer.Option(
            "--strategy",
            help="adaptive, aspect, hybrid, mrag, standard, ... Default: retrieve.strategy.",
            show_default=False,
        ),
    ] = "",
    compare: Annotated[
        str | None,
        typer.Option(
            help="Another strategy to show beside it, without --window and --voter: "
            "`--compare standard`."
        ),
    ] = None,
    sub_query: Annotated[
        list[str] | None,
        typer.Option(
            help="A sub-query for the fusion strategies; repeatable. Without any, the model "
            "of [llm] writes them."
        ),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help="A piece of the query to search by instead of cutting the query; repeatable. All "
            "count fully; `adaptive` has the whole query beside them."
        ),
    ] = None,
    voter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="How much heads, standard or lexical count in the vote, such as `lexical=0.5`; "
            "repeatable. Only the ratios matter, and 0 does not search it.",
        ),
    ] = None,
    filter_json: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="JSON",
            help=f"Only search documents that match, such as {EXAMPLE}; `all`, `any` and `not` "
            "join conditions (docs/api.md).",
        ),
    ] = None,
    rerank: Annotated[
        bool | None,
        typer.Option(
            "--rerank/--no-rerank",
            help="Whether the reranker of [rerank] orders the documents; if one is configured, it "
            "does unless you say otherwise.",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(min=-1.0, max=1.0, help="Leave out hits whose cosine is lower."),
    ] = None,
) -> None:
    """Search the live version; each hit has a title, a passage, its scores and a bar per head.

    Below the hits stands what the version has on each aspect of the question: found, weak, or
    nothing here (docs/scores.md).

    Examples:
        mrag search "read a gzip file and store its rows in SQLite" -k 5
        mrag search "..." --compare standard
        mrag search "gzip rows into SQLite" --window "read a gzip file" --window "SQLite"
        mrag search "error E1205" --voter lexical=2 --voter heads=0
        mrag search "..." --filter '{"field": "metadata.year", "op": "ge", "value": 2020}'
        mrag search "..." --no-rerank
        mrag search "..." --min-score 0.45
        mrag search "..." --json | jq '.[0].hits[].document_id'
    """
    from mrag_pipeline import wiring

    filter_ = None if filter_json is None else _filter(filter_json)
    config = shared.load()
    windows, voters = tuple(window or ()), dict(map(_share, voter or ()))
    for query in queries:  # before a model is loaded
        _check(Query(query, strategy_name, windows, voters), config)
    if not is_reranked(rerank, config.rerank.is_configured):
        config = config.model_copy(update={"rerank": RerankSpec()})  # no model is loaded for it
    with closing(wiring.index(config)) as index:
        retriever = wiring.retriever(config, index, live_record(index))
        strategies = [name for name in (compare, strategy_name or config.retrieve.strategy) if name]
        answers = []
        for query in queries:
            ask = partial(
                retriever.retrieve,
                *(query, k),
                sub_queries=sub_query or _sub_queries(query, strategies, config),
                filter=filter_,
                min_score=min_score,
            )
            compared = [ask(strategy=compare)] if compare else []
            asked = ask(strategy=strategy_name, windows=windows, voters=voters)
            answers.append([*compared, asked])
    if shared.json:
        print_json(
            [
                _plain(answer, query)
                for query, row in zip(queries, answers, strict=True)
                for answer in row
            ]
        )
        return
    for query, row in zip(queries, answers, strict=True):
        out.rule(style="dim")
        out.print(query, style="bold")
        if compare:
            _beside(row)
        else:
            _listed(row[0])


def _check(query: Query, config: Config) -> None:
    """Refuses what no version could answer.

    Raises: ConfigError.
    """
    option = choose_strategy(query.strategy, query.voters, config.retrieve)
    if option.windows != "sub-queries":
        check_query(query, config.retrieve)
    elif query.windows:
        raise ConfigError(
            f"--window for the strategy {option.name}",
            "its sub-queries, which are the query put in several ways",
            "give each of them with --sub-query",
        )


def _share(text: str) -> tuple[str, float]:
    """`lexical=0.5` as a voter's name and its share.

    Raises: ConfigError.
    """
    name, _, share = text.partition("=")
    try:
        return name.strip(), float(share)
    except ValueError:
        raise ConfigError(
            f"--voter {text!r}", "NAME=SHARE, such as lexical=0.5 or heads=0"
        ) from None


def _filter(text: str) -> Filter:
    """The filter in the option's JSON text.

    Raises: ConfigError.
    """
    try:
        plain = loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--filter is not valid JSON: {error}",
            EXAMPLE,
            "put it in single quotes for the shell",
        ) from error
    return parse(plain)


def _sub_queries(query: str, strategies: list[str], config: Config) -> list[str]:
    """Sub-queries from the chat model, if a strategy needs some and a model is configured."""
    from mrag_pipeline import wiring

    if not config.llm.url or all(strategy(name).windows != "sub-queries" for name in strategies):
        return []
    with closing(wiring.chat_model(config)) as model:
        return model.sub_queries(query)


def _listed(answer: Answer) -> None:
    _warn(answer)
    if not answer.found:
        out.print("nothing found")
        _verdicts(answer)
        return
    for rank, document in enumerate(answer.found, 1):
        row = document.row
        name = row.title or row.document_id
        about = f"{row.document_id}  {_scores(document)}"
        out.print(line(("bold", f"{rank:>2}. {name}"), "  ", ("dim", about)))
        bar, window = _bar(document), _strongest_window(answer, document)
        shown = line(f"{_snippet(row.text)}\n", ("cyan", bar), " ", ("dim", window))
        out.print(Padding(shown, (0, 0, 0, 4)))
    _verdicts(answer)
    times = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in answer.seconds.items())
    out.print(
        f"{answer.strategy} on {answer.version}: {len(answer.windows)} windows, "
        f"bars are {answer.voters[0]} to {answer.voters[-1]}{_order(answer)}; {times}",
        style="dim",
    )


def _order(answer: Answer) -> str:
    return f"; ordered by {answer.reranker}" if answer.reranker else ""


def _scores(document: FoundDocument) -> str:
    """The hit's scores on one line; what is not known is left out."""
    scores = [f"vote {document.hit.vote:.3g} ({document.hit.share:.0%})"]
    if document.cosine is not None:
        scores.append(f"cosine {document.cosine:.2f}")
    if document.bm25 is not None:
        scores.append(f"bm25 {document.bm25:.1f}")
    if document.rerank_score is not None:
        scores.append(f"reranked {document.rerank_score:.3g}")
    return "  ".join(scores)


def _verdicts(answer: Answer) -> None:
    """What the version has on each aspect; nothing if it says nothing."""
    for aspect in answer.aspects:
        if aspect.verdict is not None:
            near = "" if aspect.nearness is None else f"{aspect.nearness:.2f}"
            verdict = (COLOURS[aspect.verdict], f"{aspect.verdict:>12}")
            out.print(line(verdict, ("dim", f" {near:>5}  "), _snippet(aspect.text, 100)))


def _warn(*answers: Answer) -> None:
    for warning in dict.fromkeys(warning for answer in answers for warning in answer.warnings):
        out.print(line(("yellow", "warning"), f" {warning}"))


def _beside(answers: list[Answer]) -> None:
    _warn(*answers)
    table = Table(*(f"{answer.strategy}" for answer in answers), expand=True)
    longest = max(len(answer.found) for answer in answers)
    for rank in range(longest):
        cells: list[str | Text] = []
        for answer in answers:
            if rank >= len(answer.found):
                cells.append("")
                continue
            row = answer.found[rank].row
            title = f"{rank + 1}. {row.title or row.document_id}\n"
            cells.append(line(("bold", title), ("dim", _snippet(row.text, 90))))
        table.add_row(*cells)
    out.print(table)
    _verdicts(answers[-1])


def _snippet(text: str, chars: int = SNIPPET_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else line[: chars - 3].rstrip() + "..."


def _bar(document: FoundDocument) -> str:
    """One character for each voter, as high as its share of the hit's strongest voter."""
    by_voter = document.hit.parts.sum(axis=1)
    top = float(by_voter.max()) or 1.0
    return "".join(BARS[round(float(part) / top * (len(BARS) - 1))] for part in by_voter)


def _strongest_window(answer: Answer, document: FoundDocument) -> str:
    """The window that gave the hit most votes, and how many others voted for it."""
    by_window = document.hit.parts.sum(axis=0)
    window = answer.windows[int(by_window.argmax())]
    others = int((by_window > 0).sum()) - 1
    more = f" and {others} more windows" if others > 0 else ""
    return f"for “{_snippet(window.text, 60)}”{more}" if len(answer.windows) > 1 else ""


def _plain(answer: Answer, query: str) -> dict[str, Any]:
    return {
        "query": query,
        "strategy": answer.strategy,
        "version": answer.version,
        "windows": [window.text for window in answer.windows],
        "voters": list(answer.voters),
        "reranker": answer.reranker,
        "warnings": list(answer.warnings),
        "hits": [
            {
                "document_id": document.hit.document_id,
                "title": document.row.title,
                "chunk_id": document.row.id,
                "text": document.row.text,
                "metadata": dict(document.row.metadata),
                "cosine": document.cosine,
                "bm25": document.bm25,
                "vote": document.hit.vote,
                "vote_share": document.hit.share,
                "aspects": list(document.aspects),
                "votes_by_voter": document.hit.parts.sum(axis=1).tolist(),
                "votes_by_window": document.hit.parts.sum(axis=0).tolist(),
                "rerank_score": document.rerank_score,
                "rerank_window": document.rerank_window,
            }
            for document in answer.found
        ],
        "aspects": [asdict(aspect) for aspect in answer.aspects],
        "levels": None if answer.levels is None else asdict(answer.levels),
        "num_searches": answer.num_searches,
        "seconds": dict(answer.seconds),
    }
