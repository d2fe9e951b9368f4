"""The replica of the deployment `Reranker`, as Serve makes and calls it, without Serve."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError, OutOfTime, RerankerUnavailable
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.rerank import deepened
from mrag_pipeline.serving.parts.answer_reranker import Deepened
from mrag_pipeline.serving.ray.deployments import RerankerReplica
from mrag_pipeline.settings.rerank import RerankSpec
from tests.support.query_world import WORLD
from tests.support.tiny_models import save_cross_encoder


def an_answer() -> Answer:
    """What the search sends to the reranker: a deepened question's answer, over a wire."""
    question = deepened(WORLD.question("dog on the hill", "hybrid"), RerankSpec(documents=9))
    [answer] = WORLD.searcher().search([question])
    sent: Answer = pickle.loads(pickle.dumps(answer))
    return sent


def call(replica: RerankerReplica, *answers: Deepened, seconds: float = 60.0) -> Any:
    return pickle.loads(pickle.dumps(asyncio.run(replica.rerank(answers, seconds))))


def config(**rerank: Any) -> dict[str, Any]:
    return Config.parse({"rerank": rerank}).to_dict()


def test_a_replica_loads_its_model_and_orders_answers(tmp_path: Path) -> None:
    """Each cut to its own k; what goes back over the wire has no passages but those shown."""
    model = str(save_cross_encoder(tmp_path / "judge"))
    replica = RerankerReplica(config(model=model, device="cpu", documents=9))
    first, second = call(replica, Deepened(an_answer(), 4), Deepened(an_answer(), 2))
    assert [len(answer.found) for answer in (first, second)] == [4, 2]
    assert (first.reranker, first.warnings) == ("judge", ())
    scores = [document.rerank_score for document in first.found]
    assert scores == sorted(scores, reverse=True)
    assert {document.passages for document in first.found} == {()}
    replica.close()


def test_an_endpoint_is_not_asked_before_there_is_a_question() -> None:
    """A service starts while its reranker is away; then the answer says that it was."""
    replica = RerankerReplica(config(url="http://127.0.0.1:9"))
    [answer] = call(replica, Deepened(an_answer(), 3))
    assert "The reranker did not answer" in answer.warnings[0]
    assert len(answer.found) == 3
    replica.close()


def test_errors_are_returned() -> None:
    """Ray would wrap a raised one into an error of its own."""
    replica = RerankerReplica(config(url="http://127.0.0.1:9", on_error="fail"))
    assert isinstance(call(replica, Deepened(an_answer(), 3)), RerankerUnavailable)
    assert isinstance(call(replica, Deepened(an_answer(), 3), seconds=0.0), OutOfTime)
    replica.close()


def test_a_model_that_cannot_be_loaded_fails_the_start() -> None:
    """The replica is never ready; Serve reports the error."""
    with pytest.raises(ConfigError, match="commit"):
        RerankerReplica(config(model="somebody/some-reranker"))
