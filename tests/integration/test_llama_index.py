"""The LlamaIndex retriever over a service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

from mrag_pipeline.client import Client
from mrag_pipeline.integrations.llamaindex import FilteredQuery, MragRetriever
from tests.support.retrieved import AFTER_2012, FOUND, QUESTION, a_service, assert_told

LATE = MetadataFilters(filters=[MetadataFilter(key="year", value=2012, operator=FilterOperator.GT)])
EARLY = MetadataFilters(filters=[MetadataFilter(key="year", value=2001)])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with a_service(tmp_path_factory.mktemp("service")) as client:
        yield client


def ids(nodes: list[NodeWithScore]) -> set[str]:
    return {node.metadata["document_id"] for node in nodes}


def test_nodes_carry_what_the_search_says_of_them(client: Client) -> None:
    """Passage, place in its document, metadata, votes and scores."""
    best, second = MragRetriever(client, similarity_top_k=2).retrieve(QUESTION)
    assert ids([best, second]) == FOUND
    assert best.node.node_id == best.metadata["mrag"]["chunk_id"]
    assert best.node.ref_doc_id == best.metadata["document_id"]
    assert best.score is not None
    assert second.score is not None
    assert best.score >= second.score > 0
    assert_told(best.metadata)


def test_a_language_model_is_not_shown_the_votes(client: Client) -> None:
    """It sees the title and the document's metadata."""
    [best] = MragRetriever(client, similarity_top_k=1).retrieve(QUESTION)
    shown = best.node.get_content(MetadataMode.LLM)
    assert "title" in shown
    assert "votes_by_voter" not in shown


def test_a_filter_of_the_retriever_or_of_the_query(client: Client) -> None:
    """The query's takes the place of the retriever's."""
    made = MragRetriever(client, filters=LATE)
    assert ids(made.retrieve(QUESTION)) == AFTER_2012
    assert ids(made.retrieve(FilteredQuery(QUESTION, filters=EARLY))) == {"dog"}
    assert ids(made.retrieve(QueryBundle(QUESTION))) == AFTER_2012


def test_embedding_strings_are_windows(client: Client) -> None:
    """What a query transformation made of the question is what is searched."""
    query = QueryBundle("anything", custom_embedding_strs=["a curved sword of hammered steel"])
    [best] = MragRetriever(client, similarity_top_k=1).retrieve(query)
    assert best.metadata["document_id"] == "sword"
    assert best.metadata["mrag"]["window"] == "a curved sword of hammered steel"


def test_coroutines_find_the_same(client: Client) -> None:
    """Several questions at once."""
    made = MragRetriever(client, similarity_top_k=1)

    async def ask() -> tuple[list[NodeWithScore], ...]:
        return await asyncio.gather(made.aretrieve("a curved sword"), made.aretrieve("a flute"))

    assert [ids(found) for found in asyncio.run(ask())] == [{"sword"}, {"reed"}]


def test_it_is_a_part_of_a_query_engine(client: Client) -> None:
    """The language model gets the passages; the response cites them as sources."""
    engine = RetrieverQueryEngine.from_args(
        MragRetriever(client, similarity_top_k=2), llm=MockLLM()
    )
    response = engine.query(QUESTION)
    assert ids(response.source_nodes) == FOUND
    assert "shaggy herding dog" in str(response)
