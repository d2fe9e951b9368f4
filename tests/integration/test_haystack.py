"""The Haystack retriever over a service, and how it is written with its pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.document_stores.types import FilterPolicy
from haystack.utils import Secret

from mrag_pipeline.client import Client
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.integrations.haystack import MragRetriever
from tests.support.retrieved import AFTER_2012, FOUND, QUESTION, a_service, assert_told

LATE = {"field": "meta.year", "operator": ">", "value": 2012}
NOT_CAKE = {"field": "meta.title", "operator": "!=", "value": "Cake"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with a_service(tmp_path_factory.mktemp("service")) as client:
        yield client


def ids(found: dict[str, Any]) -> set[str]:
    return {document.meta["document_id"] for document in found["documents"]}


def test_documents_carry_what_the_search_says_of_them(client: Client) -> None:
    """Passage, metadata, votes and scores; and what the index has on each aspect."""
    found = MragRetriever(client, top_k=2).run(QUESTION)
    best, second = found["documents"]
    assert ids(found) == FOUND
    assert best.id == best.meta["mrag"]["chunk_id"]
    assert best.score >= second.score > 0
    assert_told(best.meta)
    assert [aspect["text"] for aspect in found["aspects"]]
    assert found["warnings"] == []


def test_filters_replace_or_are_joined(client: Client) -> None:
    """By the component's policy, as of Haystack's own retrievers."""
    made = MragRetriever(client, filters=LATE)
    assert ids(made.run(QUESTION)) == AFTER_2012
    assert ids(made.run(QUESTION, filters=NOT_CAKE)) == {"dog", "star", "sword", "reed"}
    joined = MragRetriever(client, filters=LATE, filter_policy=FilterPolicy.MERGE)
    assert ids(joined.run(QUESTION, filters=NOT_CAKE)) == {"sword", "reed"}


def test_coroutines_find_the_same(client: Client) -> None:
    """In an asynchronous pipeline."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", MragRetriever(client))
    asked = {"retriever": {"query": QUESTION, "top_k": 2}}
    assert ids(asyncio.run(pipeline.run_async(asked))["retriever"]) == FOUND


def test_a_pipeline_comes_back_from_yaml(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every parameter; it searches and builds a prompt as before."""
    url = repr(client).split("'")[1]
    made = MragRetriever(
        url=url,
        api_key=Secret.from_env_var("THE_KEY"),
        top_k=2,
        filters={"operator": "AND", "conditions": [NOT_CAKE]},
        filter_policy=FilterPolicy.MERGE,
        options={"strategy": "mrag"},
    )
    pipeline = Pipeline()
    pipeline.add_component("retriever", made)
    template = "{% for document in documents %}{{ document.meta.title }} {% endfor %}"
    pipeline.add_component("prompt", PromptBuilder(template))
    pipeline.connect("retriever.documents", "prompt.documents")
    monkeypatch.setenv("THE_KEY", "secret-of-the-caller")
    written = pipeline.dumps()
    assert "secret-of-the-caller" not in written
    read = Pipeline.loads(written, allowed_modules=["mrag_pipeline.integrations.haystack"])
    component: Any = read.get_component("retriever")
    assert component.to_dict() == made.to_dict()
    found = read.run({"retriever": {"query": QUESTION}})
    assert set(found["prompt"]["prompt"].split()) == {"Dog", "Star"}
    read.close()


def test_a_key_itself_is_never_written() -> None:
    """Haystack refuses a token; the variable's name would be written."""
    made = MragRetriever(url="http://127.0.0.1:8000", api_key=Secret.from_token("s3cret"))
    with pytest.raises(ValueError, match="Cannot serialize"):
        made.to_dict()


def test_an_open_service_is_not_written(client: Client) -> None:
    """Said with what can be."""
    with pytest.raises(ConfigError, match=r"MragRetriever\(url="):
        MragRetriever(client).to_dict()


@pytest.mark.parametrize("given", [{}, {"url": "http://localhost", "config": "mrag.toml"}])
def test_one_thing_to_search_is_given(given: dict[str, Any]) -> None:
    """Neither none nor two."""
    with pytest.raises(ConfigError, match="one of service, url and config"):
        MragRetriever(**given)


def test_a_filter_that_cannot_be_translated_fails_at_once() -> None:
    """When the component is made, not in the middle of a pipeline's run."""
    with pytest.raises(ConfigError, match=r"meta\.document_id"):
        MragRetriever(config=".", filters={"field": "id", "operator": "==", "value": "1"})
