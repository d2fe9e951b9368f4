"""The API over the in-process backend: exact search, a fake encoder, no network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mrag_pipeline import errors
from mrag_pipeline.domain.strategies import DEFAULT, STRATEGIES
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.serving.backend import Ask, BackendState
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.problem_table import TABLE, ProblemKind
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.retrieve import RetrieveSpec, VoterShares
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import (
    BatchAnswer,
    Chunk,
    IndexState,
    Problem,
    SearchAnswer,
)
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living, a_document
from tests.support.query_service import (
    QUERY,
    TENANTS,
    TEXTS,
    Bound,
    a_backend,
    a_client,
    a_living,
    found,
)


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture(scope="module")
def client(living: Living) -> TestClient:
    """A client of a service without keys."""
    return a_client(a_backend(living), ServeSpec(examples=("bees?",)))


class Failing:
    """A backend whose every call raises the same error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        raise self.error

    async def chunk(self, chunk_id: int, only: object = None) -> ChunkRow | None:
        raise self.error

    async def browse(self, look: object) -> Any:
        raise self.error

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        raise self.error

    async def state(self) -> BackendState:
        return BackendState(None, False, "still loading")


def problem(response: Any, status: int) -> Problem:
    """The problem that a response is, checked for its status and media type."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    told = Problem.model_validate_json(response.content)
    assert told.status == status
    return told


# ------------------------------------------------------------------ search
def test_a_question_of_two_aspects_finds_both(client: TestClient) -> None:
    """The answer fits the schema; windows are pieces of the query; votes add up."""
    response = client.post("/v1/search", json={"query": QUERY, "k": 2})
    assert response.status_code == 200
    answer = SearchAnswer.model_validate_json(response.content, strict=True)
    assert sorted(hit.document_id for hit in answer.hits) == ["dog", "star"]
    assert all(QUERY[one.start : one.end] == one.text for one in answer.windows)
    assert answer.voters == ["l00_h00", "l00_h01", "l00_h02", "standard", "lexical"]
    assert answer.missing_voters == []
    assert {"encode", "search", "fetch", "vote", "total"} <= answer.seconds.keys()
    for hit in answer.hits:
        assert len(hit.votes_by_window) == len(answer.windows)
        assert len(hit.votes_by_voter) == len(answer.voters)
        assert sum(hit.votes_by_window) == pytest.approx(sum(hit.votes_by_voter))
        assert hit.votes is None


def test_votes_are_explained_when_asked(client: TestClient) -> None:
    """By voter and window; their sums are the short forms."""
    [hit] = client.post("/v1/search", json={"query": QUERY, "k": 1, "explain": True}).json()["hits"]
    assert [pytest.approx(sum(row)) for row in hit["votes"]] == hit["votes_by_voter"]
    by_window = [sum(column) for column in zip(*hit["votes"], strict=True)]
    assert by_window == pytest.approx(hit["votes_by_window"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers(client: TestClient, name: str) -> None:
    """Fusion searches by the given windows."""
    windows = ["herding dog", "giant star"] if STRATEGIES[name].windows == "sub-queries" else None
    body = {"query": QUERY, "strategy": name, "k": 3} | ({"windows": windows} if windows else {})
    answer = client.post("/v1/search", json=body).json()
    assert answer["strategy"] == name
    # By words alone only what shares a word is found.
    assert len(found(answer)) == (2 if STRATEGIES[name].needs_words else 3)


def test_windows_can_be_given(client: TestClient) -> None:
    """In place of ours; the whole question stays beside them where it is one of the windows."""
    windows = ["river reed", "butter cake"]
    for strategy, whole in (("aspect", []), ("adaptive", ["both"])):
        body = {"query": "both", "windows": windows, "k": 2, "strategy": strategy}
        answer = client.post("/v1/search", json=body).json()
        assert [one["text"] for one in answer["windows"]] == whole + windows
        assert sorted(found(answer)) == ["cake", "reed"]


def test_shares_of_the_voters_can_be_given(client: TestClient) -> None:
    """Those that are left out stay; one with 0 is not searched."""
    body = {"query": QUERY, "voters": {"heads": 0, "standard": 0.5}}
    answer = client.post("/v1/search", json=body).json()
    assert answer["voters"] == ["standard", "lexical"]


def test_the_services_settings_are_the_defaults_of_its_requests(living: Living) -> None:
    """What a request says wins; the index and the document tell what it gets otherwise."""
    retrieve = RetrieveSpec(strategy="aspect", k=3, voters=VoterShares(standard=0.0))
    client = a_client(a_backend(living, retrieve=retrieve), retrieve=retrieve)
    answer = client.post("/v1/search", json={"query": QUERY}).json()
    assert (answer["strategy"], len(answer["hits"])) == ("aspect", 3)
    assert answer["voters"] == ["l00_h00", "l00_h01", "l00_h02"]
    own = {"query": QUERY, "strategy": "hybrid", "k": 1, "voters": {"lexical": 0}}
    answer = client.post("/v1/search", json=own).json()
    assert (answer["strategy"], len(answer["hits"])) == ("hybrid", 1)
    assert answer["voters"] == ["standard"]
    state = client.get("/v1/index").json()
    assert (state["default_strategy"], state["default_k"]) == ("aspect", 3)
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    fields = schemas["SearchBody"]["properties"]
    assert (fields["strategy"]["default"], fields["k"]["default"]) == ("aspect", 3)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"field": "metadata.year", "op": "ge", "value": 2020}, {"sword", "reed"}),
        ({"field": "document_id", "op": "in", "value": ["dog", "cake"]}, {"dog", "cake"}),
        ({"field": "title", "op": "prefix", "value": "S"}, {"star", "sword"}),
        ({"not": {"field": "metadata.owner.name", "op": "exists"}}, {"reed"}),
        (
            {
                "all": [
                    {"field": "metadata.year", "op": "gt", "value": 2001},
                    {
                        "any": [
                            {"field": "metadata.owner.name", "op": "eq", "value": "acme"},
                            {"field": "title", "op": "eq", "value": "Cake"},
                        ]
                    },
                ]
            },
            {"star", "cake"},
        ),
        ({"field": "title", "op": "eq", "value": "nobody"}, set()),
    ],
)
def test_only_documents_that_match_are_found(
    client: TestClient, wanted: dict[str, Any], expected: set[str]
) -> None:
    """All of them, however far down they rank without the filter."""
    answer = client.post("/v1/search", json={"query": QUERY, "k": 5, "filter": wanted}).json()
    assert set(found(answer)) == expected


# ------------------------------------------------------------------ batch
def test_a_batch_answers_each_in_its_place(client: TestClient) -> None:
    """With the same answers as separate requests, from one version."""
    bodies = [{"query": "butter cake", "k": 1}, {"query": QUERY, "k": 2, "strategy": "mrag"}]
    response = client.post("/v1/search/batch", json={"searches": bodies})
    answers = BatchAnswer.model_validate_json(response.content, strict=True).answers
    alone = [client.post("/v1/search", json=body).json() for body in bodies]
    assert [[hit.document_id for hit in one.hits] for one in answers] == list(map(found, alone))
    assert [one.strategy for one in answers] == ["adaptive", "mrag"]
    assert len({one.version for one in answers}) == 1


def test_a_batch_is_one_version_while_the_alias_moves(tmp_path: Path) -> None:
    """A hundred flips between two versions: no batch has both, and both were seen."""
    living = a_living(tmp_path)
    first = living.index.live()
    living.items = [*living.items, a_document(1)]
    living.ingest()
    second = living.index.live()
    assert first is not None
    assert second is not None
    client = a_client(a_backend(living))
    ended = threading.Event()

    def flip() -> None:
        while not ended.is_set():
            for version in (first, second):
                living.index.activate(version)

    flipping = threading.Thread(target=flip)
    flipping.start()
    seen = set()
    try:
        for _ in range(40):
            body = {"searches": [{"query": "dog", "k": 1}, {"query": "cake", "k": 1}]}
            answers = client.post("/v1/search/batch", json=body).json()["answers"]
            versions = {one["version"] for one in answers}
            assert len(versions) == 1
            seen |= versions
    finally:
        ended.set()
        flipping.join()
    assert seen == {first, second}


def test_a_batch_costs_as_many_requests_as_it_holds(living: Living) -> None:
    """The dependency counted one; the rest is spent before any work."""
    spent: list[int] = []

    class Counting(OpenGuard):
        def spend(self, caller: Any, cost: int) -> None:
            spent.append(cost)
            raise errors.TooManyRequests("too many", retry_after_s=7.0)

    client = a_client(a_backend(living), guard=Counting())
    response = client.post("/v1/search/batch", json={"searches": [{"query": "dog"}] * 3})
    problem(response, 429)
    assert response.headers["retry-after"] == "7"
    assert spent == [2]


# ------------------------------------------------------------------ index and chunks
def test_the_index_says_what_is_served(client: TestClient, living: Living) -> None:
    """Counts, heads with their weight, strategies, examples."""
    state = IndexState.model_validate_json(client.get("/v1/index").content, strict=True)
    assert (state.index, state.version) == ("docs", living.index.live())
    assert (state.num_documents, state.num_chunks) == (5, 6)
    assert [one.name for one in state.heads] == ["l00_h00", "l00_h01", "l00_h02"]
    assert all(one.importance > 0 for one in state.heads)
    assert set(state.strategies) == set(STRATEGIES)
    assert (state.default_strategy, state.default_k) == (DEFAULT, 10)
    assert state.examples == ["bees?"]


def test_a_hits_chunk_can_be_fetched(client: TestClient) -> None:
    """The hit's chunk_id returns the same passage."""
    [hit] = client.post("/v1/search", json={"query": "butter cake", "k": 1}).json()["hits"]
    response = client.get(f"/v1/chunks/{hit['chunk_id']}")
    chunk = Chunk.model_validate_json(response.content, strict=True)
    assert chunk.model_dump() == {name: hit[name] for name in Chunk.model_fields}


@pytest.mark.parametrize("number", ["0", "1", str(2**63 - 1), str(2**63), "9" * 19])
def test_a_chunk_that_is_not_there_is_not_found(client: TestClient, number: str) -> None:
    """Numbers beyond int64 too."""
    assert number in problem(client.get(f"/v1/chunks/{number}"), 404).detail


def test_a_number_beyond_int64_never_reaches_the_index() -> None:
    """Engines that keep int64 keys would fail on it, or wrap it around."""
    client = a_client(Failing(ZeroDivisionError()))
    problem(client.get(f"/v1/chunks/{2**63}"), 404)
    problem(client.get(f"/v1/chunks/{2**63 - 1}"), 500)


@pytest.mark.parametrize("number", ["-1", "x", "1.0", "9" * 20, "%00", "0x10", "١", "1%0A"])
def test_a_chunk_id_that_is_no_number_is_refused(client: TestClient, number: str) -> None:
    """Signs, other alphabets' digits, line ends, more digits than there are numbers for."""
    told = problem(client.get(f"/v1/chunks/{number}"), 422)
    assert told.errors is not None
    assert told.errors[0]["loc"] == ["path", "chunk_id"]


# ------------------------------------------------------------------ tenants
def test_a_bound_key_finds_its_tenants_documents_alone(living: Living) -> None:
    """In search, batch and chunks, whatever filter it sends along."""
    mine = a_client(a_backend(living, TENANTS), TENANTS, Bound("acme"))
    everything = {"not": {"field": "title", "op": "eq", "value": "x"}}
    body = {"query": QUERY, "k": 5, "filter": everything}
    assert set(found(mine.post("/v1/search", json=body).json())) == {"dog", "star"}
    batch = mine.post("/v1/search/batch", json={"searches": [body, {"query": "cake"}]}).json()
    assert [set(found(one)) for one in batch["answers"]] == [{"dog", "star"}, {"dog", "star"}]
    theirs = a_client(a_backend(living, TENANTS), TENANTS, Bound("umbrella"))
    for hit in theirs.post("/v1/search", json={"query": "cake"}).json()["hits"]:
        problem(mine.get(f"/v1/chunks/{hit['chunk_id']}"), 404)
        assert theirs.get(f"/v1/chunks/{hit['chunk_id']}").status_code == 200


def test_another_tenant_is_forbidden_everywhere(living: Living) -> None:
    """403 in the body of every endpoint and in the query of chunks."""
    client = a_client(a_backend(living, TENANTS), TENANTS, Bound("acme"))
    body = {"query": "cake", "tenant": "umbrella"}
    problem(client.post("/v1/search", json=body), 403)
    problem(client.post("/v1/answer", json=body), 403)
    problem(client.post("/v1/search/batch", json={"searches": [{"query": "a"}, body]}), 403)
    problem(client.get("/v1/chunks/1?tenant=umbrella"), 403)


def test_a_free_key_may_name_a_tenant(living: Living) -> None:
    """Without one it sees all documents; an unknown tenant has none."""
    client = a_client(a_backend(living, TENANTS), TENANTS)
    for tenant, expected in (("acme", 2), ("umbrella", 2), ("nobody", 0), (None, 5)):
        body = {"query": QUERY, "k": 5} | ({"tenant": tenant} if tenant else {})
        assert len(client.post("/v1/search", json=body).json()["hits"]) == expected


def test_tenants_where_there_are_none(client: TestClient, living: Living) -> None:
    """Naming one is 422; a key bound to one is refused everything."""
    problem(client.post("/v1/search", json={"query": "a", "tenant": "acme"}), 422)
    problem(client.get("/v1/chunks/1?tenant=acme"), 422)
    bound = a_client(a_backend(living), guard=Bound("acme"))
    problem(bound.post("/v1/search", json={"query": "a"}), 403)
    problem(bound.get("/v1/chunks/1"), 403)


# ------------------------------------------------------------------ health
def test_alive_and_ready(client: TestClient, living: Living) -> None:
    """/livez needs nothing; /readyz names the version."""
    assert client.get("/livez").json() == {"status": "alive", "version": ""}
    assert client.get("/readyz").json() == {"status": "ready", "version": living.index.live()}


def test_without_a_live_version_it_is_alive_and_not_ready(tmp_path: Path) -> None:
    """503 with the reason and Retry-After, for questions too."""
    client = a_client(a_backend(Living(tmp_path, [])))
    assert client.get("/livez").status_code == 200
    for response in (
        client.get("/readyz"),
        client.get("/v1/index"),
        client.get("/v1/chunks/1"),
        client.post("/v1/search", json={"query": "a"}),
    ):
        assert "no live version" in problem(response, 503).detail
        assert int(response.headers["retry-after"]) >= 1


def test_another_encoder_is_not_ready(living: Living) -> None:
    """Searches are refused with the reason; /v1/index still answers."""
    backend = InProcessBackend(FakeEncoder(num_heads=7), FakeSegmenter(), living.index)
    client = a_client(backend)
    assert "another encoder" in problem(client.get("/readyz"), 503).detail
    problem(client.post("/v1/search", json={"query": "a"}), 503)
    assert client.get("/v1/index").status_code == 200


# ------------------------------------------------------------------ errors
@pytest.mark.parametrize(("kind", "row"), TABLE.items(), ids=[kind.__name__ for kind in TABLE])
def test_whatever_the_backend_raises_is_its_problem(
    kind: type[MragError], row: ProblemKind
) -> None:
    """Each line of the table, through every endpoint that asks the backend."""
    client = a_client(Failing(kind("found", "expected", "fix")))
    for response in (
        client.post("/v1/search", json={"query": "a"}),
        client.post("/v1/search/batch", json={"searches": [{"query": "a"}]}),
        client.get("/v1/chunks/1"),
    ):
        assert problem(response, row.status).title == row.title


def test_a_bug_is_a_500_without_its_words() -> None:
    """In every endpoint."""
    client = a_client(Failing(ZeroDivisionError("secret")))
    for response in (
        client.post("/v1/search", json={"query": "a"}),
        client.get("/v1/chunks/1"),
    ):
        problem(response, 500)
        assert "secret" not in response.text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"query": "a", "k": 101}, 422, "k = 101"),
        ({"query": "x" * 20_001}, 422, "20001 characters"),
        ({"query": " \n"}, 422, "without text"),
        ({"query": "a", "strategy": "nope"}, 422, "no strategy"),
        ({"query": "a", "strategy": "fusion"}, 422, "sub-queries"),
        ({"query": "a", "windows": [" "]}, 422, "windows without text"),
        ({"query": "a", "kk": 3}, 422, "body.kk"),
        ({"query": "a", "k": "5"}, 422, "body.k"),
        ({"query": "a", "filter": {"field": "year", "op": "eq", "value": 1}}, 422, "'year'"),
        ({"query": "a", "filter": {"field": "title", "op": "like", "value": 1}}, 422, "op"),
        ({"query": "a", "filter": {}}, 422, "filter"),
        ({}, 422, "body.query"),
        ([], 422, "body"),
    ],
)
def test_what_cannot_be_asked_is_said(
    client: TestClient, body: Any, status: int, words: str
) -> None:
    """The detail names the wrong field or the limit."""
    told = problem(client.post("/v1/search", json=body), status)
    assert words in told.detail
    assert told.expected


def test_a_batch_names_the_search_that_is_wrong(client: TestClient) -> None:
    """By its position; a batch that is too large or empty is refused."""
    bodies = [{"query": "a"}, {"query": "b", "k": 0}]
    told = problem(client.post("/v1/search/batch", json={"searches": bodies}), 422)
    assert told.errors is not None
    assert told.errors[0]["loc"] == ["body", "searches", 1, "k"]
    problem(client.post("/v1/search/batch", json={"searches": []}), 422)
    problem(client.post("/v1/search/batch", json={"searches": [{"query": "a"}] * 33}), 422)


def test_the_routers_refusals_are_problems(client: TestClient) -> None:
    """Unknown paths and methods; no redirect for a trailing slash."""
    problem(client.get("/v2/search"), 404)
    problem(client.post("/v1/search/", json={"query": "a"}), 404)
    refused = client.get("/v1/search")
    problem(refused, 405)
    assert refused.headers["allow"] == "POST"


# ------------------------------------------------------------------ time and leaving
class Slow(InProcessBackend):
    """Never answers; says when it works, and counts its cancelled calls."""

    working: asyncio.Event
    cancelled = 0

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        self.working.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return []


@pytest.fixture
def slow(living: Living) -> Iterator[Slow]:
    backend = Slow(FakeEncoder(num_heads=3), FakeSegmenter(), living.index)
    backend.working = asyncio.Event()
    yield backend
    backend.close()


def test_a_search_has_the_time_it_asks_for(slow: Slow) -> None:
    """504, and the work is given up, even by a backend that does not look at its seconds."""
    client = a_client(slow)
    told = problem(client.post("/v1/search", json={"query": "a", "timeout_s": 0.05}), 504)
    assert "0.05 s" in told.detail
    assert slow.cancelled == 1


def test_a_batch_has_the_time_of_the_hastiest(slow: Slow) -> None:
    """No request gets more than the service's limit."""
    client = a_client(slow, ServeSpec(timeout_s=0.2))
    bodies = [{"query": "a", "timeout_s": 600}, {"query": "b", "timeout_s": 0.04}]
    told = problem(client.post("/v1/search/batch", json={"searches": bodies}), 504)
    assert "0.04 s" in told.detail
    told = problem(client.post("/v1/search", json=bodies[0]), 504)
    assert "0.2 s" in told.detail


def test_searches_in_time_of_their_own_are_given_up_by_the_backend(living: Living) -> None:
    """An encoder that is too slow is 504."""

    class Sleeping(FakeEncoder):
        def encode(self, texts, role):  # type: ignore[no-untyped-def]
            threading.Event().wait(0.3)
            return super().encode(texts, role)

    client = a_client(InProcessBackend(Sleeping(num_heads=3), FakeSegmenter(), living.index))
    problem(client.post("/v1/search", json={"query": "a", "timeout_s": 0.05}), 504)


def test_a_client_that_leaves_is_not_worked_for(slow: Slow) -> None:
    """Its disconnect cancels the backend's call."""
    app = create_api(slow, ServeSpec(), OpenGuard(), NoObserver())
    body = b'{"query": "a"}'
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await slow.working.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/search",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 5.0))
    assert slow.cancelled == 1
    assert sent[0]["status"] == 499


# ------------------------------------------------------------------ what was stored
def test_stored_texts_that_are_no_characters_are_answered(tmp_path: Path) -> None:
    """Half a surrogate pair and a NaN in a corpus do not break its answers."""
    living = a_living(tmp_path)
    rows = living.index.chunks

    def broken(collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        metadata = {"x\udc80": "y\udc80", "n": float("nan"), "deep": {"list": [float("inf"), 1]}}
        return {
            at: replace(row, text=row.text + "\ud800", title="\udfff", metadata=metadata)  # type: ignore[arg-type]
            for at, row in rows(collection, ids).items()
        }

    living.index.chunks = broken  # type: ignore[method-assign]
    client = a_client(a_backend(living))
    response = client.post("/v1/search", json={"query": "cake", "k": 1})
    assert response.status_code == 200
    [hit] = response.json()["hits"]
    assert hit["title"] == "?"
    assert hit["metadata"] == {"x?": "y?", "n": None, "deep": {"list": [None, 1]}}
    assert client.get(f"/v1/chunks/{hit['chunk_id']}").status_code == 200


def test_every_document_of_the_toy_is_there(client: TestClient) -> None:
    """The fixture itself: five documents, one of two passages."""
    answer = client.post("/v1/search", json={"query": QUERY, "k": 10}).json()
    assert set(found(answer)) == set(TEXTS)
