"""What the retrievers of every framework are asked, and what they have to find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI

from mrag_pipeline.client import Client
from tests.support.query_service import a_backend, a_client, a_living
from tests.support.staged_page import served

QUESTION = "a shaggy herding dog of the hills. a cool giant star rich in carbon."
FOUND = {"dog", "star"}  # by the two best passages
AFTER_2012 = {"cake", "sword", "reed"}


@contextmanager
def a_service(folder: Path) -> Iterator[Client]:
    """A client of the toy documents' service, over a socket."""
    backend = a_backend(a_living(folder))
    with served(cast(FastAPI, a_client(backend).app)) as url, Client(url) as client:
        yield client
    backend.close()


def assert_told(metadata: dict[str, Any]) -> None:
    """The metadata has the document's own, and what the search says of the hit."""
    assert {"document_id", "title", "year"} <= set(metadata)
    told = metadata["mrag"]
    assert told["vote"] > 0
    assert sum(told["votes_by_voter"].values()) > 0
    assert told["window"] in QUESTION
    assert told["cosine"] is not None
