"""The reranker behind HTTP, against a server on loopback: each form, and every way to fail."""

from __future__ import annotations

import logging
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from mrag_pipeline.errors import (
    ConfigError,
    OutOfTime,
    RerankerRefused,
    RerankerUnavailable,
)
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.rerank.endpoint import MAX_CHARS, REPLY_BYTES, EndpointReranker
from mrag_pipeline.settings.rerank import RerankForm, RerankSpec
from tests.support.fake_reranker import relevance
from tests.support.rerank_server import (
    KEY,
    Asked,
    Turn,
    a_rerank_server,
    as_documented,
    reply,
)

PASSAGES = ("bees hum", "sheep graze on the hill", "bees and sheep")
REQUEST = RerankRequest("bees hum", PASSAGES)
EXPECTED = [relevance("bees hum", passage) for passage in PASSAGES]


def scored(url: str, seconds: float = 10.0, **changes: Any) -> list[float]:
    """The scores that an endpoint gives the three passages."""
    reranker = EndpointReranker(RerankSpec(**{"url": url, "model": "m", **changes}))
    try:
        [scores] = reranker.scores([REQUEST], seconds)
        return scores.tolist()
    finally:
        reranker.close()


@pytest.mark.parametrize(
    ("form", "path", "body"),
    [
        (
            "tei",
            "/rerank",
            {"query": "bees hum", "texts": list(PASSAGES), "truncate": True, "raw_scores": False},
        ),
        (
            "cohere",
            "/v2/rerank",
            {"model": "m", "query": "bees hum", "documents": list(PASSAGES), "top_n": 3},
        ),
        (
            "jina",
            "/v1/rerank",
            {
                "model": "m",
                "query": "bees hum",
                "documents": list(PASSAGES),
                "top_n": 3,
                "return_documents": False,
            },
        ),
    ],
)
def test_each_form_is_asked_and_read_as_documented(
    form: RerankForm, path: str, body: dict[str, Any]
) -> None:
    """Path, body and reply; results come best first, scores are returned in the passages' order."""
    with a_rerank_server(as_documented) as (url, requests):
        assert scored(url, form=form) == EXPECTED
    assert [(asked.path, asked.body) for asked in requests] == [(path, body)]


def test_a_url_with_its_path_is_used_as_it_is() -> None:
    """Servers that answer in Cohere's form at another path are reached by the whole URL."""
    with a_rerank_server(as_documented) as (url, requests):
        scored(f"{url}/v1/rerank", form="cohere")
    assert [asked.path for asked in requests] == ["/v1/rerank"]


def test_many_passages_are_sent_in_batches() -> None:
    """Of at most rerank.batch texts; text-embeddings-inference refuses more than 32."""
    texts = tuple(f"bees {number}" for number in range(70))
    with a_rerank_server(as_documented) as (url, requests):
        reranker = EndpointReranker(RerankSpec(url=url))
        [scores] = reranker.scores([RerankRequest("bees 69", texts)], 10.0)
        reranker.close()
    assert sorted(len(asked.body["texts"]) for asked in requests) == [6, 32, 32]
    assert scores.tolist() == [relevance("bees 69", text) for text in texts]


def test_texts_are_cut_before_they_are_sent() -> None:
    """A question of a million characters is no request of that size, 50 times."""
    with a_rerank_server(as_documented) as (url, requests):
        reranker = EndpointReranker(RerankSpec(url=url))
        reranker.scores([RerankRequest("q" * 100_000, ("p" * 100_000,))], 10.0)
        reranker.close()
    [asked] = requests
    assert (len(asked.body["query"]), len(asked.body["texts"][0])) == (MAX_CHARS, MAX_CHARS)


# ------------------------------------------------------------------ the key
def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bearer token, from the variable that the config names."""
    monkeypatch.setenv("MY_KEY", f" {KEY} ")
    with a_rerank_server(as_documented) as (url, requests):
        scored(url, key_env="MY_KEY")
        scored(url, key_env="NOT_SET")
    assert [asked.key for asked in requests] == [f"Bearer {KEY}", None]


def test_the_key_is_in_no_error_and_no_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even if the server repeats it."""
    monkeypatch.setenv("MRAG_RERANK_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with (
        a_rerank_server(reply(401, {"error": f"wrong key {KEY}"})) as (url, _),
        pytest.raises(RerankerRefused, match=r"\[key\]") as caught,
    ):
        scored(url)
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_a_key_that_no_header_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its variable."""
    monkeypatch.setenv("MRAG_RERANK_API_KEY", "schlüssel\n")
    with pytest.raises(ConfigError, match="MRAG_RERANK_API_KEY"):
        EndpointReranker(RerankSpec(url="http://127.0.0.1:1"))


# ------------------------------------------------------------------ replies that cannot be used
def tei(*scores: object) -> list[dict[str, object]]:
    return [{"index": index, "score": score} for index, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tei(0.1, 0.2), "1 of 3 texts without a score"),
        (tei(0.1, 0.2, 0.3, 0.4), "index 3 for 3 texts"),
        ([*tei(0.1, 0.2), {"index": 1, "score": 0.3}], "index 1 twice"),
        ([*tei(0.1, 0.2), {"index": -1, "score": 0.3}], "index -1"),
        ([*tei(0.1, 0.2), {"index": True, "score": 0.3}], "whole `index`"),
        ([*tei(0.1, 0.2), {"score": 0.3}], "whole `index`"),
        (tei(0.1, 0.2, None), "a number `score`"),
        (tei(0.1, 0.2, "0.3"), "a number `score`"),
        (b'[{"index": 0, "score": NaN}]', "no finite number"),
        (b'[{"index": 0, "score": -Infinity}]', "no finite number"),
        (b'[{"index": 0, "score": 1' + b"0" * 400 + b"}]", "no finite number"),
        ([0.1, 0.2, 0.3], "whole `index`"),
        ({"results": tei(0.1, 0.2, 0.3)}, "no list of results"),
        (None, "no list of results"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"<html>welcome to the proxy</html>", "not JSON"),
    ],
)
def test_scores_that_cannot_be_trusted_are_refused_at_once(content: Any, reason: str) -> None:
    """Each text needs one finite score; the error says what is wrong and shows the reply."""
    with (
        a_rerank_server(reply(200, content)) as (url, requests),
        pytest.raises(RerankerRefused) as caught,
    ):
        scored(url)
    assert reason in caught.value.found
    assert "rerank.form" in caught.value.fix
    assert len(requests) == 1


@pytest.mark.parametrize("form", ["cohere", "jina"])
def test_a_reply_of_another_form_is_refused(form: RerankForm) -> None:
    """TEI's bare list is no reply of Cohere's or Jina's."""
    with (
        a_rerank_server(reply(200, tei(0.1, 0.2, 0.3))) as (url, _),
        pytest.raises(RerankerRefused, match="no results"),
    ):
        scored(url, form=form)


def test_a_batch_too_large_names_the_setting() -> None:
    """The server's own words are shown beside it."""
    texts = tuple(f"bees {number}" for number in range(33))
    with a_rerank_server(as_documented) as (url, _):
        reranker = EndpointReranker(RerankSpec(url=url, batch=64))
        with pytest.raises(RerankerRefused, match="maximum allowed batch size 32") as caught:
            reranker.scores([RerankRequest("bees", texts)], 10.0)
        reranker.close()
    assert "rerank.batch" in caught.value.fix


def test_a_redirect_is_refused() -> None:
    """It could lead anywhere, with the key."""
    with (
        a_rerank_server(reply(307, "", Location="http://127.0.0.1:9/rerank")) as (url, requests),
        pytest.raises(RerankerRefused, match="status 307"),
    ):
        scored(url)
    assert len(requests) == 1


def test_a_reply_without_end_is_given_up() -> None:
    """At a size that no scores have."""

    def endless(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        for _number in range(2 * REPLY_BYTES // 100_000):
            handler.wfile.write(b" " * 100_000)

    with (
        a_rerank_server(endless) as (url, _),
        pytest.raises(RerankerRefused, match="more than 4,000,000 bytes"),
    ):
        scored(url)


# ------------------------------------------------------------------ busy, slow, away
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    """One such reply does not fail the question."""
    busy = reply(status, {"error": "Model is overloaded", "error_type": "Overloaded"})
    with a_rerank_server(busy, as_documented) as (url, requests):
        assert scored(url) == EXPECTED
    assert len(requests) == 2


def test_retry_after_is_waited_for() -> None:
    """As long as the server asks for, not as long as we would choose."""
    busy = reply(429, {}, Retry_After="1")
    with a_rerank_server(busy, as_documented) as (url, _):
        began = time.monotonic()
        scored(url)
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("wait", ["3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_wait_beyond_the_time_limit_is_an_error_at_once(wait: str) -> None:
    """Seconds or a date: no time is spent on an attempt that would come too late."""
    began = time.monotonic()
    with (
        a_rerank_server(reply(429, {}, Retry_After=wait)) as (url, requests),
        pytest.raises(RerankerUnavailable, match="status 429, which asks to wait"),
    ):
        scored(url, seconds=5.0)
    assert len(requests) == 1
    assert time.monotonic() - began < 4.0


def test_a_server_that_stays_busy_is_an_error() -> None:
    """After three attempts; the error names the URL and the status."""
    with (
        a_rerank_server(reply(503, {})) as (url, requests),
        pytest.raises(RerankerUnavailable, match="status 503"),
    ):
        scored(url)
    assert len(requests) == 3


def test_a_broken_connection_is_tried_again() -> None:
    """The server closed it without a reply."""

    def hang_up(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    with a_rerank_server(hang_up, as_documented) as (url, requests):
        assert scored(url) == EXPECTED
    assert len(requests) == 2


def test_a_server_that_is_not_there_is_an_error() -> None:
    """Unavailable: it may come back."""
    with pytest.raises(RerankerUnavailable, match="ConnectError"):
        scored("http://127.0.0.1:9")


def hanging(handler: BaseHTTPRequestHandler, _: Asked) -> None:
    """Never answers while the test waits."""
    time.sleep(3.0)
    handler.close_connection = True


def dripping(handler: BaseHTTPRequestHandler, _: Asked) -> None:
    """A byte now and then: each read is in time, the reply never is."""
    handler.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\n":
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.mark.parametrize("turn", [hanging, dripping])
def test_a_server_that_hangs_costs_the_time_limit_and_no_more(turn: Turn) -> None:
    """Whether it says nothing or almost nothing."""
    began = time.monotonic()
    with a_rerank_server(turn) as (url, _):
        with pytest.raises(OutOfTime, match=r"within 0\.5 s"):
            scored(url, seconds=0.5)
        assert time.monotonic() - began < 2.0


# ------------------------------------------------------------------ the address
def test_loopback_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is for other machines."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with a_rerank_server(as_documented) as (url, _):
        assert scored(url) == EXPECTED


def test_other_hosts_are_reached_through_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As every other program of this machine reaches them."""
    with a_rerank_server(reply(200, tei(0.1, 0.2, 0.3))) as (proxy, requests):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert scored("http://rerank.example") == [0.1, 0.2, 0.3]
    assert [asked.path for asked in requests] == ["http://rerank.example/rerank"]


@pytest.mark.parametrize("url", ["rerank.example:8080", "ftp://host", "http://", "http://[::"])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=r"rerank\.url"):
        EndpointReranker(RerankSpec(url=url))


@pytest.mark.parametrize("form", ["cohere", "jina"])
def test_a_form_that_names_a_model_needs_one(form: RerankForm) -> None:
    """text-embeddings-inference serves one model, the others several."""
    with pytest.raises(ConfigError, match=rf"rerank\.form = '{form}' without a model"):
        EndpointReranker(RerankSpec(url="http://127.0.0.1:1", form=form))
