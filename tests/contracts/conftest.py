"""The index that the VectorIndex suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.ports import VectorIndex
from tests.support.empty_index import STORES, open_empty


@pytest.fixture(params=STORES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An empty index named docs: in memory, on Milvus Lite and, if one is set, on a server."""
    opened = open_empty(request.param, tmp_path)
    yield opened
    opened.close()
