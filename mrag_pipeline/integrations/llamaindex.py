"""LlamaIndex: a retriever over an `Index` or a `Client`, and a query with a filter of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import MetadataFilters

from mrag_pipeline.client.calls import SearchOptions
from mrag_pipeline.integrations import asking, filter_forms, passages
from mrag_pipeline.wire.schemas import SearchAnswer


@dataclass
class FilteredQuery(QueryBundle):
    """A query with a filter, which takes the place of the retriever's."""

    filters: MetadataFilters | None = None


class MragRetriever(BaseRetriever):
    """The passages that answer a question's aspects, best first.

    A node's metadata has votes, scores and aspects under `mrag`, which language models and
    embeddings are not shown. A query's `custom_embedding_strs` are searched as its windows.

    Args:
        service: an Index or a Client; an AsyncClient for `aretrieve` alone.
        similarity_top_k: documents to fetch.
        filters: documents to search among.
        options: others of a search: strategy, tenant, min_score...
    """

    def __init__(
        self,
        service: asking.Service,
        *,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        callback_manager: CallbackManager | None = None,
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self._service = service
        self._top_k = similarity_top_k
        self._filters = filters
        self._options = options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        asked = self._asked(query_bundle)
        return _nodes(asking.search(self._service, query_bundle.query_str, asked))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        asked = self._asked(query_bundle)
        return _nodes(await asking.asearch(self._service, query_bundle.query_str, asked))

    def _asked(self, query: QueryBundle) -> dict[str, Any]:
        own = query.filters if isinstance(query, FilteredQuery) else None
        filters = filter_forms.from_llama_index(self._filters if own is None else own)
        asked: dict[str, Any] = {**self._options}
        if self._top_k is not None:
            asked["k"] = self._top_k
        if filters is not None:
            asked["filter"] = filters
        if query.custom_embedding_strs:
            asked["windows"] = query.custom_embedding_strs
        return asked


def _nodes(answer: SearchAnswer) -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                id_=hit.chunk_id,
                text=hit.text,
                metadata=passages.metadata(answer, rank),
                excluded_llm_metadata_keys=[passages.KEY],
                excluded_embed_metadata_keys=[passages.KEY],
                start_char_idx=hit.start,
                end_char_idx=hit.end,
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document_id)},
            ),
            score=passages.score(answer, rank),
        )
        for rank, hit in enumerate(answer.hits)
    ]
