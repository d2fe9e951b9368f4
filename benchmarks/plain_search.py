"""A plain search app, as one might write it in an hour; serve.py compares the service with it.

    python benchmarks/plain_search.py URI --port 8001

FastAPI, sentence-transformers and pymilvus in one process. Each question is one vector and one
search in the chunks collection of serve.py's index.
"""

from __future__ import annotations

import argparse
import threading

import served
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from pymilvus import MilvusClient
from sentence_transformers import SentenceTransformer

from mrag_pipeline import library_settings
from mrag_pipeline.domain.version import live_alias
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.index.milvus.schema import search_params
from mrag_pipeline.settings.encoder import EncoderSpec


class Question(BaseModel):
    """The body of a search request."""

    query: str
    k: int = 10


def app_over(uri: str, index_type: str) -> FastAPI:
    """The app: one search route, one vector for each question."""
    model = SentenceTransformer(str(find_model(EncoderSpec(served.MODEL)).root), device="cpu")
    client = MilvusClient(uri)
    collection = live_alias(served.INDEX)
    client.load_collection(collection)
    app = FastAPI()
    # The model's tokenizer cannot be used by two threads at once.
    encoding = threading.Lock()

    @app.get("/readyz")
    def ready() -> bool:
        return True

    @app.post("/search")
    def search(question: Question) -> list[dict[str, object]]:
        with encoding:
            vector = model.encode(
                question.query, normalize_embeddings=True, show_progress_bar=False
            )
        [hits] = client.search(
            collection,
            [vector.tolist()],
            limit=question.k,
            search_params=search_params(index_type, question.k, {}),
            output_fields=["document_id", "title", "text"],
        )
        return [{"score": hit["distance"], **hit["entity"]} for hit in hits]

    return app


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uri")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--index-type", default="FLAT")
    options = parser.parse_args()
    library_settings.settle()
    app = app_over(options.uri, options.index_type)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()
