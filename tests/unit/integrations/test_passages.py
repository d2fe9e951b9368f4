"""What a hit becomes in a framework."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mrag_pipeline.integrations import passages
from mrag_pipeline.wire.schemas import SearchAnswer
from tests.support.client_service import ANSWER


def an_answer(hit: dict[str, Any] | None = None, **changes: Any) -> SearchAnswer:
    """The toy answer, changed; its hit twice."""
    plain = deepcopy(ANSWER) | changes
    plain["hits"] = [plain["hits"][0] | (hit or {}) for _ in range(2)]
    return SearchAnswer.model_validate(plain)


def test_metadata_is_the_documents_and_ours_under_one_key() -> None:
    """Votes carry their voter's name; the window is its text."""
    made = passages.metadata(an_answer(), 1)
    ours = made.pop("mrag")
    assert made == {"document_id": "d1", "title": "Bees", "year": 2020}
    assert ours["votes_by_voter"] == {"l05_h00": 1.0, "standard": 0.5}
    assert (ours["window"], ours["rank"], ours["vote"]) == ("bees", 2, 1.5)


def test_a_documents_own_title_stays() -> None:
    """Ours is under `mrag`, so that neither is lost."""
    made = passages.metadata(an_answer({"metadata": {"title": "mine"}}), 0)
    assert (made["title"], made["mrag"]["title"]) == ("mine", "Bees")


def test_a_hits_aspects_come_with_their_verdicts() -> None:
    """Not as numbers into a list that the framework does not have."""
    aspect = {"text": "bees", "start": 0, "end": 4, "nearness": 0.7, "verdict": "found"}
    made = passages.metadata(an_answer({"aspects": [0]}, aspects=[aspect]), 0)
    assert made["mrag"]["aspects"] == [aspect]


def test_the_score_is_the_share_of_votes() -> None:
    """It falls with the rank, as the votes do."""
    assert passages.score(an_answer({"vote_share": 0.25}), 0) == 0.25


def test_a_service_without_shares_gives_votes() -> None:
    """An older one: the order is the same."""
    assert passages.score(an_answer(), 0) == 1.5


def test_after_a_reranker_the_score_is_of_the_rank() -> None:
    """Votes would put the hits back into the order that it changed."""
    answer = an_answer({"vote_share": 0.25}, reranker="reranker-v9")
    assert [passages.score(answer, rank) for rank in (0, 1)] == [1.0, 0.5]
