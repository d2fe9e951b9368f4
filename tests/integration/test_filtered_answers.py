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
from mrag_pipeline.ports import CollectionSpec, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.staging.tables import chunk_table, head_table
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
    ids = np.array([chunk.id for chunk in WORLD.chunks], np.int64)
    with closing(open_index(MilvusSpec(uri=str(path)), "toy")) as index:
        for head, name in enumerate(WORLD.record.head_collections()):
            vectors = np.ascontiguousarray(WORLD.made.heads[:, head])
            spec = CollectionSpec(name, "head", vectors.shape[1])
            index.load(spec, [head_table(ids, vectors, "float32")])
        standard = WORLD.made.standard
        texts = CollectionSpec(WORLD.record.chunks_collection(), "chunks", standard.shape[1])
        index.load(texts, [chunk_table(WORLD.chunks, standard)])
        index.delete(texts.name, sorted(WORLD.deleted))
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
