"""What the clients send, and how they read responses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from mrag_pipeline.client import AnswerUnreadable, AsyncClient, Chunk, Client, SearchBody, field
from mrag_pipeline.errors import ConfigError
from tests.support.client_service import ANSWER, URL, Scripted, each_client


@each_client
def test_a_search_sends_what_was_given_and_nothing_else(asking: Any) -> None:
    """The service decides options that are left out."""
    service = Scripted(httpx.Response(200, json=ANSWER))
    asking(
        service,
        *("search", "bees"),
        k=3,
        windows=("a hive", "honey"),
        voters={"lexical": 0},
        filter=field("metadata.year") >= 2020,
    )
    [request] = service.requests
    assert (request.method, request.url.path) == ("POST", "/v1/search")
    assert request.headers["content-type"] == "application/json"
    assert service.body() == {
        "query": "bees",
        "k": 3,
        "windows": ["a hive", "honey"],
        "voters": {"lexical": 0},
        "filter": {"field": "metadata.year", "op": "ge", "value": 2020},
    }


@each_client
def test_an_answer_is_typed(asking: Any) -> None:
    """Hits are objects; a chunk id of more than 53 bits keeps its digits."""
    answer = asking(Scripted(httpx.Response(200, json=ANSWER)), "search", "bees")
    assert answer.hits[0].chunk_id == "9007199254740993"
    assert answer.hits[0].metadata == {"year": 2020}
    assert answer.hits[0].votes is None


@each_client
def test_keys_of_a_newer_service_are_left_out(asking: Any) -> None:
    """An older client reads a newer service's answer, at every depth."""
    newer = json.loads(json.dumps(ANSWER))
    newer["novelty"] = newer["hits"][0]["novelty"] = newer["windows"][0]["novelty"] = 1
    answer = asking(Scripted(httpx.Response(200, json=newer)), "search", "bees")
    assert answer.model_dump(exclude_unset=True) == ANSWER


@each_client
def test_a_batch_mixes_texts_and_bodies(asking: Any) -> None:
    """Options go to the texts; a body is sent as it is."""
    service = Scripted(httpx.Response(200, json={"answers": [ANSWER, ANSWER]}))
    answers = asking(service, "search_batch", ["a", SearchBody(query="b", k=2)], explain=True)
    assert service.body() == {"searches": [{"query": "a", "explain": True}, {"query": "b", "k": 2}]}
    assert [answer.version for answer in answers] == ["v1", "v1"]


@each_client
def test_a_chunk_is_asked_by_its_id(asking: Any) -> None:
    """A hit's string and an int name the same path."""
    chunk = {key: ANSWER["hits"][0][key] for key in Chunk.model_fields}
    service = Scripted(httpx.Response(200, json=chunk))
    assert asking(service, "chunk", "-7").title == "Bees"
    asking(service, "chunk", -7)
    assert [request.url.path for request in service.requests] == ["/v1/chunks/-7"] * 2


@each_client
@pytest.mark.parametrize("chunk_id", ["../index", "", "1?x=1", "1.5", "٣"])
def test_what_is_no_chunk_id_is_never_sent(asking: Any, chunk_id: str) -> None:
    """An id cannot become another path."""
    service = Scripted(httpx.Response(200, json={}))
    with pytest.raises(ConfigError, match="chunk_id"):
        asking(service, "chunk", chunk_id)
    assert service.requests == []


@each_client
@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"k": "many"},
        {"timeout_s": float("nan")},
        {"windows": []},
        {"voters": {"bm25": 1}},
    ],
)
def test_what_the_service_would_refuse_is_not_sent(asking: Any, options: dict[str, Any]) -> None:
    """The wire's own bounds are checked here, and named."""
    service = Scripted(httpx.Response(200, json=ANSWER))
    with pytest.raises(ConfigError, match=next(iter(options))):
        asking(service, "search", "bees", **options)
    assert service.requests == []


@each_client
def test_a_misspelt_option_is_an_error(asking: Any) -> None:
    """No option is silently ignored."""
    with pytest.raises(ConfigError, match="strategie"):
        asking(Scripted(httpx.Response(200, json=ANSWER)), "search", "bees", strategie="mrag")


@each_client
@pytest.mark.parametrize("content", [b"<html>", b"{}", b"", b'{"version": 1}'])
def test_another_server_is_told_from_ours(asking: Any, content: bytes) -> None:
    """A 200 of another shape is an error that names the expected model and the URL."""
    with pytest.raises(AnswerUnreadable, match="8000/v1/search"):
        asking(Scripted(httpx.Response(200, content=content)), "search", "bees")


@each_client
@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 100.0), ({"timeout_s": 2.0}, 7.0), ({"timeout_s": 100.0}, 105.0)]
)
def test_an_answer_is_waited_for_longer_than_the_service_takes(
    asking: Any, given: dict[str, float], seconds: float
) -> None:
    """So the service's own time-out error arrives."""
    service = Scripted(httpx.Response(200, json=ANSWER))
    asking(service, "search", "bees", **given)
    assert service.requests[0].extensions["timeout"]["read"] == seconds


def test_both_clients_have_the_same_methods() -> None:
    """Both clients have the same methods."""
    public = [{name for name in dir(kind) if name[0] != "_"} for kind in (Client, AsyncClient)]
    assert public[0] == public[1]


def test_a_path_in_the_url_is_kept() -> None:
    """A service behind a gateway's prefix is reached."""
    service = Scripted(httpx.Response(200, json=ANSWER))
    for url in (f"{URL}/mrag", f"{URL}/mrag/"):
        with Client(url, transport=httpx.MockTransport(service)) as client:
            client.search("bees")
    assert [request.url.path for request in service.requests] == ["/mrag/v1/search"] * 2


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "", "http://", "http://u:p@host"])
def test_a_wrong_url_is_refused(url: str) -> None:
    """At once, and without showing the URL's credentials."""
    with pytest.raises(ConfigError) as found:
        Client(url)
    assert "u:p" not in str(found.value)


def test_the_client_imports_nothing_heavy() -> None:
    """Importing the client loads no model library, index client, server or numpy."""
    heavy = "torch ray pymilvus milvus_lite transformers prefect fastapi starlette pyarrow numpy"
    code = (
        "import sys, mrag_pipeline.client\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])\n"
        "ours = sorted(n for n in sys.modules if n.startswith('mrag_pipeline.'))\n"
        "print([n for n in ours if n.split('.')[1] not in ('client', 'errors', 'wire')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
