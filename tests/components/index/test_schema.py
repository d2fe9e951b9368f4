"""Index types, their parameters, and what of them a config may say."""

from __future__ import annotations

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.milvus.schema import (
    build_params,
    check_params,
    search_params,
)


def test_given_parameters_override_the_defaults() -> None:
    """The other defaults stay."""
    assert build_params("HNSW", {"M": 32}) == {"M": 32, "efConstruction": 200}
    assert build_params("FLAT", {}) == {}
    assert search_params("IVF_SQ8", 10, {"nprobe": 8})["params"] == {"nprobe": 8}


@pytest.mark.parametrize(("limit", "ef"), [(10, 40), (100, 100)])
def test_a_search_is_never_narrower_than_its_limit(limit: int, ef: int) -> None:
    """Milvus refuses an ef below the hits asked for."""
    assert search_params("HNSW", limit, {"ef": 40})["params"] == {"ef": ef}


@pytest.mark.parametrize(
    ("index_type", "build", "search", "told"),
    [
        ("FLAT", {"M": 16}, {}, "index_params has M"),
        ("HNSW", {"m": 16}, {}, "index_params has m"),
        ("HNSW", {}, {"nprobe": 4}, "search_params has nprobe"),
        ("AUTOINDEX", {}, {"ef": 4}, "search_params has ef"),
    ],
)
def test_a_parameter_of_another_type_is_refused(
    index_type: str, build: dict[str, int], search: dict[str, int], told: str
) -> None:
    """Milvus would ignore it silently."""
    with pytest.raises(ConfigError, match=told):
        check_params(index_type, build, search)
