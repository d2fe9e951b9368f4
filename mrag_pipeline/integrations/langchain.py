"""LangChain: a retriever over an `Index` or a `Client`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from mrag_pipeline.integrations import asking, filter_forms, passages
from mrag_pipeline.wire.schemas import SearchAnswer


class MragRetriever(BaseRetriever):
    """The documents that answer a question's aspects, best first.

    A Document has the passage, the metadata of its document, and in `metadata["mrag"]` votes,
    scores and aspects. Several questions at once (`batch`, `abatch`) run side by side.
    """

    service: Any = Field(description="An Index or a Client; an AsyncClient for `ainvoke` alone.")
    k: int | None = Field(default=None, ge=1, description="Documents to fetch.")
    filter: Any = Field(
        default=None, description='A filter of mrag, or a dict such as {"year": {"$gte": 2020}}.'
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Others of a search: strategy, tenant, min_score..."
    )

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
        **options: Any,
    ) -> list[Document]:
        """`invoke(query, k=3, filter=...)`: its options take the place of the retriever's own."""
        return _documents(asking.search(self.service, query, self._asked(options)))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002
        **options: Any,
    ) -> list[Document]:
        return _documents(await asking.asearch(self.service, query, self._asked(options)))

    def _asked(self, options: dict[str, Any]) -> dict[str, Any]:
        asked = {**self.options, "k": self.k, "filter": self.filter, **options}
        return {**asked, "filter": filter_forms.from_dict(asked["filter"])}


def _documents(answer: SearchAnswer) -> list[Document]:
    return [
        Document(id=hit.chunk_id, page_content=hit.text, metadata=passages.metadata(answer, rank))
        for rank, hit in enumerate(answer.hits)
    ]
