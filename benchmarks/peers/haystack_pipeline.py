"""Haystack's indexing and query pipelines with its Milvus store, in Milvus Lite."""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from milvus_haystack import MilvusDocumentStore, MilvusEmbeddingRetriever
from protocol import Search, documents, main, milvus, model


def store() -> MilvusDocumentStore:
    """The collection, kept if it exists."""
    return MilvusDocumentStore(connection_args={"uri": milvus("./haystack.db")})


def ingest(folder: str) -> None:
    """Embeds all files and overwrites the documents that are there."""
    pipeline = Pipeline()
    pipeline.add_component(
        "embedder", SentenceTransformersDocumentEmbedder(model=model(), progress_bar=False)
    )
    pipeline.add_component("writer", DocumentWriter(store(), policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("embedder", "writer")
    given = [Document(id=name, content=text) for name, text in documents(folder).items()]
    pipeline.run({"embedder": {"documents": given}})


def reader() -> Search:
    """Its retriever's documents."""
    pipeline = Pipeline()
    pipeline.add_component(
        "embedder", SentenceTransformersTextEmbedder(model=model(), progress_bar=False)
    )
    pipeline.add_component("retriever", MilvusEmbeddingRetriever(document_store=store()))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")

    def search(question: str, k: int) -> list[str]:
        asked = {"embedder": {"text": question}, "retriever": {"top_k": k}}
        return [hit.id for hit in pipeline.run(asked)["retriever"]["documents"]]

    return search


main(ingest, reader)
