"""A plain script: sentence-transformers into Milvus Lite, as introductions to Milvus show it."""

from __future__ import annotations

from protocol import Search, documents, main, milvus, model
from pymilvus import MilvusClient
from sentence_transformers import SentenceTransformer


def ingest(folder: str) -> None:
    """Embeds all files and upserts their rows by name."""
    texts = documents(folder)
    client = MilvusClient(milvus("plain.db"))
    if not client.has_collection("docs"):
        client.create_collection("docs", 384, id_type="string", max_length=200)
    encoder = SentenceTransformer(model())
    vectors = encoder.encode(list(texts.values()))
    rows = [
        {"id": name, "vector": vector.tolist(), "text": text}
        for (name, text), vector in zip(texts.items(), vectors, strict=True)
    ]
    for start in range(0, len(rows), 50):
        client.upsert("docs", rows[start : start + 50])


def reader() -> Search:
    """The nearest rows."""
    client = MilvusClient(milvus("plain.db"))
    client.load_collection("docs")
    encoder = SentenceTransformer(model())

    def search(question: str, k: int) -> list[str]:
        [hits] = client.search("docs", [encoder.encode(question).tolist()], limit=k)
        return [hit["id"] for hit in hits]

    return search


main(ingest, reader)
