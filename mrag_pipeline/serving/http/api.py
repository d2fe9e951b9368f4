"""The HTTP API over a backend: routes, problems, middleware. Knows no Ray."""

from __future__ import annotations

from fastapi import FastAPI

from mrag_pipeline import __version__
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http import error_handlers, openapi, pages
from mrag_pipeline.serving.http.answer_routes import answer_router
from mrag_pipeline.serving.http.api_ports import Guard, Observer
from mrag_pipeline.serving.http.document_routes import document_router
from mrag_pipeline.serving.http.health_routes import health_router
from mrag_pipeline.serving.http.index_routes import index_router
from mrag_pipeline.serving.http.search_routes import search_router
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec

DESCRIPTION = """\
Multi-Head RAG (arXiv 2406.05085): every aspect of the query is searched in the separate vector
space of each attention head of the embedding model; heads and aspects vote on the documents.

Every error is a problem (RFC 9457, `application/problem+json`): what was found, what was
expected, and what to do. `Retry-After` comes with 429 and 503.
"""
TAGS = [
    {"name": "search", "description": "Find documents."},
    {"name": "answer", "description": "Find documents, and have a chat model answer from them."},
    {"name": "index", "description": "The live version, its documents and passages."},
    {"name": "health", "description": "For probes."},
]


def create_api(
    backend: Backend,
    spec: ServeSpec,
    guard: Guard,
    observer: Observer,
    answerer: Answerer | None = None,
    retrieve: RetrieveSpec | None = None,
) -> FastAPI:
    """The app. The caller closes the parts.

    Args:
        answerer: None: /v1/answer responds that no chat model is configured.
        retrieve: the backend's settings, which are also the defaults of requests.
    """
    retrieve = retrieve or RetrieveSpec()
    app = FastAPI(
        title="Multi-Head RAG",
        summary="Finds documents for questions that have several aspects.",
        description=DESCRIPTION,
        version=__version__,
        openapi_tags=TAGS,
        docs_url=None,  # FastAPI's page loads scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    error_handlers.install(app)
    admission = Admission(spec, retrieve)
    app.include_router(search_router(backend, admission, guard, observer))
    app.include_router(answer_router(backend, admission, guard, observer, answerer))
    chat_model = "" if answerer is None else answerer.chat.model
    app.include_router(index_router(backend, admission, guard, spec, retrieve, chat_model))
    app.include_router(document_router(backend, admission, guard, spec))
    app.include_router(health_router(backend))
    app.include_router(pages.router())
    app.openapi = openapi.document(app, spec, retrieve)  # type: ignore[method-assign]
    # The last one is the outermost: the observer sees what the guard refuses, and not how long a
    # refusal is held back.
    guard.protect(app)
    observer.install(app)
    guard.pace(app)
    return app
