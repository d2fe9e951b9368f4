"""txtai's embeddings database, in files of its own."""

from __future__ import annotations

from protocol import Search, documents, main, model
from txtai import Embeddings


def database() -> Embeddings:
    """What was saved, if anything was."""
    saved = Embeddings(path=model(), content=True)
    if saved.exists("txtai"):
        saved.load("txtai")
    return saved


def ingest(folder: str) -> None:
    """Upserts all files and saves."""
    saved = database()
    saved.upsert([(name, text, None) for name, text in documents(folder).items()])
    saved.save("txtai")


def reader() -> Search:
    """The nearest documents."""
    saved = database()
    return lambda question, k: [hit["id"] for hit in saved.search(question, k)]


main(ingest, reader)
