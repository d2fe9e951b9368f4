"""`mrag search`: the live version's hits for a query, and which heads voted for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.search_output import beside, listed, plain
from mrag_pipeline.cli.search_ways import Wanted, asks_here, asks_service, check, find_service
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.domain.filters import EXAMPLE, parse
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.query.question import Query

if TYPE_CHECKING:
    from mrag_pipeline.wire.schemas import SearchAnswer


@shared_options()
def search(
    shared: SharedOptions,
    queries: Annotated[
        list[str] | None,
        typer.Argument(
            help="One or more queries; without any, each line of standard input is one.",
            metavar="[QUERY]...",
        ),
    ] = None,
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
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask this service, such as http://127.0.0.1:8000; its key is read from "
            "MRAG_API_KEY. Default: the one that `mrag serve` runs here for this index, or else "
            "this process searches.",
            show_default=False,
        ),
    ] = None,
    here: Annotated[
        bool,
        typer.Option(
            "--here", help="Search in this process even if a service runs; so does --set."
        ),
    ] = False,
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
        mrag search --url http://search.example.org:8000 "..."
        mrag search --json < queries.txt   # a line of JSON for each
    """
    config = shared.load()
    wanted = Wanted(
        k=k,
        strategy=strategy_name,
        sub_queries=tuple(sub_query or ()),
        windows=tuple(window or ()),
        voters=dict(map(_share, voter or ())),
        filter=None if filter_json is None else _filter(filter_json),
        min_score=min_score,
        rerank=rerank,
        compare=compare or "",
    )
    for query in queries or () if url is None else ():  # before a model is loaded
        check(Query(query, wanted.strategy, wanted.windows, wanted.voters), config)
    with ExitStack() as opened:
        if url is not None:
            from mrag_pipeline.client import Client

            service: Client | None = Client(url)
        elif here or set(shared.settings) - {"index"}:  # the service has settings of its own
            service = None
        else:
            service = find_service(config)
        if service is not None:
            opened.callback(service.close)
            ask, by = asks_service(service, wanted), service.url
        else:
            ask, by = opened.enter_context(asks_here(config, wanted)), ""
        if queries:
            _show([(query, ask(query)) for query in queries], by, shared.json)
            return
        for query in _typed():
            if shared.json:
                for answer in ask(query):
                    sys.stdout.write(json.dumps(plain(answer, query)) + "\n")
                sys.stdout.flush()
            else:
                _show([(query, ask(query))], by, as_json=False)


def _show(answered: list[tuple[str, list[SearchAnswer]]], by: str, as_json: bool) -> None:
    if as_json:
        print_json([plain(answer, query) for query, answers in answered for answer in answers])
        return
    for query, answers in answered:
        out.rule(style="dim")
        out.print(query, style="bold")
        if len(answers) > 1:
            beside(answers)
        else:
            listed(answers[0], by)


def _typed() -> Iterator[str]:
    """The lines of standard input with something on them, as they come."""
    is_typed = sys.stdin.isatty()
    while True:
        if is_typed:
            err.print("query (Ctrl-D ends): ", end="")
        if not (text := sys.stdin.readline()):
            return
        if text.strip():
            yield text.strip()


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


def _filter(text: str) -> Mapping[str, object]:
    """The filter in the option's JSON text, checked.

    Raises: ConfigError.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--filter is not valid JSON: {error}",
            EXAMPLE,
            "put it in single quotes for the shell",
        ) from error
    parse(values)
    return values  # type: ignore[no-any-return]
