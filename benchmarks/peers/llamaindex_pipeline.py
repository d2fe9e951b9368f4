"""LlamaIndex's ingestion pipeline with a document store, into Milvus Lite."""

from __future__ import annotations

from pathlib import Path

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.milvus import MilvusVectorStore
from protocol import Search, documents, main, milvus, model

DOCSTORE = Path("docstore.json")


def store() -> MilvusVectorStore:
    """The collection, kept if it exists; loaded, which it leaves to its caller."""
    kept = MilvusVectorStore(uri=milvus("./llama.db"), dim=384, overwrite=False)
    kept.client.load_collection(kept.collection_name)
    return kept


def ingest(folder: str) -> None:
    """Adds, replaces and deletes, as its document store finds out."""
    known = DOCSTORE.exists()
    docstore = (
        SimpleDocumentStore.from_persist_path(str(DOCSTORE)) if known else SimpleDocumentStore()
    )
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), HuggingFaceEmbedding(model_name=model())],
        docstore=docstore,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=store(),
    )
    given = [Document(text=text, id_=name) for name, text in documents(folder).items()]
    pipeline.run(documents=given)
    docstore.persist(str(DOCSTORE))


def reader() -> Search:
    """Its retriever's nodes."""
    encoder = HuggingFaceEmbedding(model_name=model())
    index = VectorStoreIndex.from_vector_store(store(), embed_model=encoder)

    def search(question: str, k: int) -> list[str]:
        hits = index.as_retriever(similarity_top_k=k).retrieve(question)
        return [hit.node.ref_doc_id or "" for hit in hits]

    return search


main(ingest, reader)
