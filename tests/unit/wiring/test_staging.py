"""How chunks are staged for the server of a config."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.staging.bulk_files import IN_PLACE_BYTES


@pytest.mark.parametrize(
    ("milvus", "import_bytes"),
    [
        ({}, inf),
        ({"bulk_uri": "bulk"}, IN_PLACE_BYTES),
        ({"bulk_uri": "bulk", "vector_dtype": "float16"}, inf),
    ],
)
def test_large_shards_are_staged_for_a_server_that_imports(
    tmp_path: Path, milvus: dict[str, str], import_bytes: float
) -> None:
    """16-bit vectors of a server are inserted, whatever `milvus.bulk_uri` says."""
    config = Config.parse(
        {
            "milvus": {"uri": "http://127.0.0.1:1", **milvus},
            "staging": {"uri": str(tmp_path), "vector_dtype": "float16"},
        }
    )
    staging: Any = wiring.staging(config, "vaaaaaaaaaaaa")
    assert staging._import_bytes == import_bytes
