"""Who answers `mrag search`: a service, if one runs for the index, or this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrag_pipeline.config import Config
from mrag_pipeline.domain.strategies import strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.question import Query
from mrag_pipeline.quick_imports import quick_imports

if TYPE_CHECKING:
    from mrag_pipeline.client import Client
    from mrag_pipeline.client.calls import SearchOptions
    from mrag_pipeline.wire.schemas import SearchAnswer


PROBE_S = 5.0  # for the answer that says which index a service has


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every query of the command is asked for; None and "" leave it to the settings."""

    k: int | None
    strategy: str
    sub_queries: Sequence[str]
    windows: tuple[str, ...]
    voters: Mapping[str, float]
    filter: Mapping[str, object] | None
    min_score: float | None
    rerank: bool | None
    compare: str = ""  # another strategy, by its own windows and voters


# The compared strategy's answer first, if there is one.
Ask = Callable[[str], "list[SearchAnswer]"]


def find_service(config: Config) -> Client | None:
    """A client of the service that `mrag serve` runs here for this index; None if there is none."""
    from mrag_pipeline.wiring import at_work

    url = at_work.running_service(config)
    if not url:
        return None
    with quick_imports():
        from mrag_pipeline.client import Client, ServiceProblem, ServiceUnreachable
        from mrag_pipeline.client.problems import AnswerUnreadable

    with Client(url, attempts=1, timeout_s=PROBE_S) as asked:
        try:
            is_it = asked.index().index == config.index
        except (ServiceUnreachable, ServiceProblem, AnswerUnreadable):
            return None  # it is stopping, or wants a key that this shell has not
    return Client(url) if is_it else None


def asks_service(client: Client, wanted: Wanted) -> Ask:
    """Asks a service; its own settings fill in what is not wanted otherwise."""
    given: SearchOptions = {}
    if wanted.k is not None:
        given["k"] = wanted.k
    if wanted.filter is not None:
        given["filter"] = wanted.filter
    if wanted.min_score is not None:
        given["min_score"] = wanted.min_score
    if wanted.rerank is not None:
        given["rerank"] = wanted.rerank
    pieces: SearchOptions = {}
    if wanted.windows or wanted.sub_queries:
        pieces["windows"] = [*wanted.windows, *wanted.sub_queries]
    own: SearchOptions = {**given, **pieces}
    if wanted.strategy:
        own["strategy"] = wanted.strategy
    if wanted.voters:
        own["voters"] = wanted.voters

    def ask(query: str) -> list[SearchAnswer]:
        compared: list[SearchAnswer] = []
        if wanted.compare:
            options: SearchOptions = {**given, "strategy": wanted.compare}
            if wanted.sub_queries:
                options["windows"] = wanted.sub_queries
            compared.append(client.search(query, **options))
        return [*compared, client.search(query, **own)]

    return ask


@contextmanager
def asks_here(config: Config, wanted: Wanted) -> Iterator[Ask]:
    """Opens index and model in this process with the first query."""
    from mrag_pipeline import wiring
    from mrag_pipeline.domain.filters import parse
    from mrag_pipeline.query.rerank import is_reranked
    from mrag_pipeline.serving.http.wire_format import search_answer
    from mrag_pipeline.settings.rerank import RerankSpec
    from mrag_pipeline.stages.versions.lookup import live_record
    from mrag_pipeline.wiring import answering

    if not is_reranked(wanted.rerank, config.rerank.is_configured):
        config = config.model_copy(update={"rerank": RerankSpec()})  # no model is loaded for it
    filter_ = None if wanted.filter is None else parse(wanted.filter)
    strategies = [
        name for name in (wanted.compare, wanted.strategy or config.retrieve.strategy) if name
    ]
    with ExitStack() as opened:
        index = opened.enter_context(closing(wiring.index(config)))
        retriever = answering.retriever(config, index, live_record(index), few=True)

        def ask(query: str) -> list[SearchAnswer]:
            check(Query(query, wanted.strategy, wanted.windows, wanted.voters), config)
            sub_queries = wanted.sub_queries or _sub_queries(query, strategies, config)

            def retrieved(
                name: str, windows: Sequence[str] = (), voters: Mapping[str, float] | None = None
            ) -> SearchAnswer:
                started = time.perf_counter()
                answer = retriever.retrieve(
                    *(query, wanted.k, name, sub_queries),
                    windows=windows,
                    voters=voters,
                    filter=filter_,
                    rerank=wanted.rerank,
                    min_score=wanted.min_score,
                )
                return search_answer(answer, False, time.perf_counter() - started)

            compared = [retrieved(wanted.compare)] if wanted.compare else []
            return [*compared, retrieved(wanted.strategy, wanted.windows, wanted.voters)]

        yield ask


def check(query: Query, config: Config) -> None:
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


def _sub_queries(query: str, strategies: list[str], config: Config) -> list[str]:
    """Sub-queries from the chat model, if a strategy needs some and a model is configured."""
    from mrag_pipeline.wiring import answering

    if not config.llm.url or all(strategy(name).windows != "sub-queries" for name in strategies):
        return []
    with closing(answering.chat_model(config)) as model:
        return model.sub_queries(query)
