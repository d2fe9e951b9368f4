"""How answers go over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.wire.schemas import SearchAnswer
from tests.support.query_service import QUERY, a_backend, a_living


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[InProcessBackend]:
    opened = a_backend(a_living(tmp_path))
    yield opened
    opened.close()


@pytest.mark.parametrize("explain", [True, False])
def test_an_answer_keeps_its_numbers_on_the_wire(backend: InProcessBackend, explain: bool) -> None:
    """Votes, windows, voters and rows as the stages have them; valid by the schema."""
    [answer] = asyncio.run(backend.answer([Ask(Query(QUERY, "aspect", ("dog", "star")), 3)], 5.0))
    sent = wire_format.search_answer(answer, explain, 1.5)
    read = SearchAnswer.model_validate_json(sent.model_dump_json(), strict=True)
    assert read.seconds == {**answer.seconds, "total": 1.5}
    assert read.voters == list(answer.voters)
    assert [window.text for window in read.windows] == ["dog", "star"]
    assert [aspect.text for aspect in read.aspects] == ["dog", "star"]
    assert [aspect.nearness for aspect in read.aspects] == [a.nearness for a in answer.aspects]
    for hit, document in zip(read.hits, answer.found, strict=True):
        parts = document.hit.parts
        assert (hit.document_id, hit.vote) == (document.hit.document_id, document.hit.vote)
        assert hit.votes_by_window == parts.sum(axis=0).tolist()
        assert hit.votes_by_voter == parts.sum(axis=1).tolist()
        assert hit.votes_by_window[hit.window] == max(hit.votes_by_window)
        assert hit.votes == (parts.tolist() if explain else None)
        assert (hit.cosine, hit.bm25) == (document.cosine, document.bm25)
        assert (hit.vote_share, hit.aspects) == (document.hit.share, list(document.aspects))
        assert (int(hit.chunk_id), hit.text) == (document.row.id, document.row.text)
