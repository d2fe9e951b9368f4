"""Reranking through the HTTP API and the client, with a reranker on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.rerank.endpoint import EndpointReranker
from mrag_pipeline.settings.rerank import RerankSpec
from tests.support.fake_reranker import relevance
from tests.support.living_index import Living
from tests.support.query_service import QUERY, TEXTS, a_backend, a_client, a_living, found
from tests.support.rerank_server import Turn, a_rerank_server, as_documented, reply

HTML = reply(200, b"<html>a proxy's page</html>", kind="text/html")


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture
def serve(living: Living) -> Iterator[Any]:
    """Opens a service whose reranker answers by a turn; closed after the test."""
    with ExitStack() as stack:

        def opened(turn: Turn, **changes: Any) -> TestClient:
            url, _ = stack.enter_context(a_rerank_server(turn))
            spec = RerankSpec(url=url, form="jina", model="reranker-v9", **changes)
            reranker = EndpointReranker(spec)
            stack.callback(reranker.close)
            backend = a_backend(living, reranking=Reranking(reranker, spec))
            stack.callback(backend.close)
            return a_client(backend)

        yield opened


def asked(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/search", json={"query": QUERY, "k": 3, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_an_answer_says_who_ordered_it_and_by_what(serve: Any) -> None:
    """The model's name, and each hit's score for its window."""
    answer = asked(serve(as_documented), strategy="hybrid", query="giant star rich in carbon")
    assert (answer["reranker"], answer["warnings"]) == ("reranker-v9", [])
    assert answer["seconds"]["rerank"] > 0
    assert found(answer)[0] == "star"
    best = answer["hits"][0]
    window = answer["windows"][best["rerank_window"]]["text"]
    assert best["rerank_score"] == relevance(window, f"Star\n{TEXTS['star'][0]}")


def test_a_request_can_do_without(serve: Any) -> None:
    """The answer is the vote's."""
    answer = asked(serve(as_documented), rerank=False)
    assert (answer["reranker"], answer["warnings"]) == ("", [])
    assert {hit["rerank_score"] for hit in answer["hits"]} == {None}


def test_a_failed_reranker_is_a_warning_without_its_address(serve: Any) -> None:
    """The hits are there, in the vote's order."""
    failed = asked(serve(HTML))
    assert found(failed) == found(asked(serve(as_documented), rerank=False))
    [warning] = failed["warnings"]
    assert "not reranked: The reranker returned no usable scores" in warning
    assert "127.0.0.1" not in warning


@pytest.mark.parametrize(
    ("turn", "status", "kind"),
    [(HTML, 502, "reranker-refused"), (reply(503, {}), 502, "reranker-unavailable")],
)
def test_with_on_error_fail_it_is_a_problem(serve: Any, turn: Turn, status: int, kind: str) -> None:
    """That names no address either."""
    response = serve(turn, on_error="fail").post("/v1/search", json={"query": QUERY})
    assert (response.status_code, response.json()["type"]) == (status, f"urn:mrag:problem:{kind}")
    assert "127.0.0.1" not in response.text


def test_reranking_without_a_reranker_is_not_configured(living: Living) -> None:
    """501, as /v1/answer without a chat model."""
    backend = a_backend(living)
    response = a_client(backend).post("/v1/search", json={"query": QUERY, "rerank": True})
    backend.close()
    assert response.status_code == 501
    assert response.json()["type"] == "urn:mrag:problem:not-configured"


def test_searches_of_a_batch_choose_each_for_itself(serve: Any) -> None:
    """One is reranked, the other is not."""
    searches = [{"query": QUERY, "rerank": True}, {"query": QUERY, "rerank": False}]
    response = serve(as_documented).post("/v1/search/batch", json={"searches": searches})
    assert [answer["reranker"] for answer in response.json()["answers"]] == ["reranker-v9", ""]
