"""What every `Reranker` promises: the fake's, the endpoint's and the cross-encoder's suite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mrag_pipeline.ports import Reranker, RerankRequest
from mrag_pipeline.rerank.endpoint import EndpointReranker
from mrag_pipeline.settings.rerank import RerankForm, RerankSpec
from tests.support.fake_reranker import FakeReranker
from tests.support.rerank_server import a_rerank_server, as_documented

SECONDS = 30.0
PASSAGES = (
    "w1 w2 w3",
    "w4 w5",
    "",
    "   \n ",
    "日本語のテキスト。",
    "a lone \ud800 surrogate",
    "nul \x00 and 😀 emoji",
    "w1 w2 w3",
    "w7 " * 3_000,
)
REQUESTS = (
    RerankRequest("w1 w2", PASSAGES),
    RerankRequest("w4 \ud800", PASSAGES[:2]),
    RerankRequest("w9 " * 3_000, PASSAGES[3:5]),
    RerankRequest("nothing to score", ()),
)


def endpoint(form: RerankForm) -> Iterator[Reranker]:
    with a_rerank_server(as_documented) as (url, _):
        opened = EndpointReranker(RerankSpec(url=url, form=form, model="m", batch=4))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    from mrag_pipeline.encoder.cross_encoder import load_cross_encoder
    from tests.support.tiny_models import save_cross_encoder

    folder = save_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))
    return load_cross_encoder(RerankSpec(model=str(folder), device="cpu", batch=4))


@pytest.fixture(params=["fake", "cross-encoder", "tei", "cohere", "jina"])
def reranker(request: pytest.FixtureRequest) -> Iterator[Reranker]:
    if request.param == "fake":
        yield FakeReranker()
    elif request.param == "cross-encoder":
        yield request.getfixturevalue("cross_encoder")
    else:
        yield from endpoint(request.param)


def test_every_passage_has_a_score_in_its_place(reranker: Reranker) -> None:
    """For each request (N,) finite float64, whatever the texts hold and however many there are."""
    found = reranker.scores(REQUESTS, SECONDS)
    assert [scores.shape for scores in found] == [(9,), (2,), (2,), (0,)]
    assert all(scores.dtype == np.float64 and np.isfinite(scores).all() for scores in found)


def test_equal_pairs_have_equal_scores(reranker: Reranker) -> None:
    """Whichever batch a pair is in, and whatever is scored with it."""
    together = reranker.scores(REQUESTS, SECONDS)
    alone = reranker.scores([RerankRequest("w1 w2", (PASSAGES[0],))], SECONDS)
    np.testing.assert_allclose(together[0][[0, 7]], alone[0][0], rtol=0, atol=1e-6)


def test_no_request_has_no_scores(reranker: Reranker) -> None:
    """Nothing is asked and nothing is returned."""
    assert reranker.scores([], SECONDS) == []


def test_it_has_a_name(reranker: Reranker) -> None:
    """Answers and reports say which model reranked them."""
    assert reranker.name
