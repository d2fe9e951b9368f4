"""Filtered answers from Milvus Lite equal those of an index of the matching chunks only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.filters import AnyOf, Condition, Not
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.query_world import QUERIES, WAYS, WORLD

FILTERS = [
    Condition("metadata.shelf", "eq", "a"),
    Condition("metadata.year", "in", (2001, 2002)),
    Not(AnyOf((Condition("title", "eq", "t1"), Condition("metadata.year", "lt", 2004)))),
]


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    """The generated chunks in Milvus Lite, with some text rows deleted."""
    path = tmp_path_factory.mktemp("lite") / "x.db"
    with closing(open_index(MilvusSpec(uri=str(path)), "toy")) as index:
        WORLD.load(index, range(len(WORLD.chunks)))
        index.delete(WORLD.record.chunks_collection(), sorted(WORLD.deleted))
        yield index


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("strategy", ["aspect", "mrag"])
def test_a_filtered_answer_is_exact_on_lite(
    lite: VectorIndex, way: str, wanted: Any, strategy: str
) -> None:
    """The same documents in the same order with the same votes, however the filter is applied."""
    alone = WORLD.searcher(WORLD.matching_alone(wanted))
    for query in QUERIES:
        question = WORLD.question(query, strategy, k=6, filter=wanted)
        searcher = WORLD.searcher(lite, filtering=WAYS[way])
        [found] = searcher.search([question])
        [right] = alone.search([replace(question, filter=None)])
        assert found.documents() == right.documents()
        np.testing.assert_allclose(
            [one.hit.vote for one in found.found], [one.hit.vote for one in right.found]
        )
