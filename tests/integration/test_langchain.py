"""The LangChain retriever over a service: LangChain's own standard tests, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests

from mrag_pipeline.client import AsyncClient, Client, field
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.integrations.langchain import MragRetriever
from tests.support.retrieved import AFTER_2012, FOUND, QUESTION, a_service, assert_told


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with a_service(tmp_path_factory.mktemp("service")) as client:
        yield client


class TestStandard(RetrieversIntegrationTests):
    """`langchain-tests`' standard tests of retrievers."""

    @pytest.fixture(autouse=True)
    def _over_the_service(self, client: Client) -> None:
        self._client = client

    @property
    def retriever_constructor(self) -> type[MragRetriever]:
        return MragRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"service": self._client}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


def test_documents_carry_what_the_search_says_of_them(client: Client) -> None:
    """Passage, id, metadata, votes and scores."""
    best, second = MragRetriever(service=client, k=2).invoke(QUESTION)
    assert {best.metadata["document_id"], second.metadata["document_id"]} == FOUND
    assert best.id == best.metadata["mrag"]["chunk_id"]
    assert best.page_content
    assert_told(best.metadata)


@pytest.mark.parametrize(
    "filter_", [{"year": {"$gt": 2012}}, field("metadata.year") > 2012], ids=["dict", "ours"]
)
def test_a_filter_of_the_retriever_or_of_the_call(client: Client, filter_: Any) -> None:
    """The call's takes the place of the retriever's."""
    made = MragRetriever(service=client, filter=filter_)
    assert {d.metadata["document_id"] for d in made.invoke(QUESTION)} == AFTER_2012
    found = made.invoke(QUESTION, filter={"year": 2001})
    assert {d.metadata["document_id"] for d in found} == {"dog"}


def test_options_reach_the_service(client: Client) -> None:
    """Of the retriever and of the call."""
    made = MragRetriever(service=client, options={"strategy": "standard"})
    assert list(made.invoke(QUESTION)[0].metadata["mrag"]["votes_by_voter"]) == ["standard"]
    assert len(made.invoke(QUESTION, strategy="mrag")[0].metadata["mrag"]["votes_by_voter"]) > 1


def test_many_questions_at_once(client: Client) -> None:
    """`batch` and `abatch` keep the order of the questions."""
    made = MragRetriever(service=client, k=1)
    questions = ["a curved sword", "a small flute", "butter cake"]
    expected = ["sword", "reed", "cake"]
    for found in (made.batch(questions), asyncio.run(made.abatch(questions))):
        assert [documents[0].metadata["document_id"] for documents in found] == expected


def test_asyncios_client_is_waited_for(client: Client) -> None:
    """A blocking call with it is refused, with what to do."""
    url = repr(client).split("'")[1]

    async def ask() -> list[Any]:
        async with AsyncClient(url) as service:
            made = MragRetriever(service=service, k=2)
            with pytest.raises(ConfigError, match="async"):
                made.invoke(QUESTION)
            return await made.ainvoke(QUESTION)

    assert {d.metadata["document_id"] for d in asyncio.run(ask())} == FOUND


def test_it_is_a_part_of_a_chain(client: Client) -> None:
    """A Runnable as any other."""

    def titles_of(documents: list[Document]) -> list[str]:
        return [document.metadata["title"] for document in documents]

    titles = RunnableLambda(titles_of)
    assert set((MragRetriever(service=client, k=2) | titles).invoke(QUESTION)) == {"Dog", "Star"}
