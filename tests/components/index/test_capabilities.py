"""What each Milvus can do, by what it calls its version."""

from __future__ import annotations

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.milvus.capabilities import MilvusRelease
from mrag_pipeline.index.milvus.schema import build_params, check_params, search_params

LITE = MilvusRelease.of("milvus_lite-3.2.2")
NEWEST = MilvusRelease.of("v99.0")


@pytest.mark.parametrize(
    ("told", "version", "lite"),
    [
        ("v2.3.5", (2, 3), False),
        ("2.4.0-rc.1", (2, 4), False),
        ("v2.10.1-dev", (2, 10), False),
        ("milvus_lite-3.2.2", (3, 2), True),
        ("master-a1b2", (0, 0), False),
    ],
)
def test_a_version_is_its_first_two_numbers(
    told: str, version: tuple[int, int], lite: bool
) -> None:
    """Versions compare as numbers (2.10 is after 2.9); an odd version supports nothing extra."""
    assert (MilvusRelease.of(told).version, MilvusRelease.of(told).is_lite) == (version, lite)


@pytest.mark.parametrize(
    ("told", "imports", "halves"),
    [
        ("v2.2.9", False, False),
        ("v2.3.5", True, False),
        ("v2.4.0", True, True),
        ("v3.0", True, True),
        ("milvus_lite-3.2.2", False, False),
    ],
)
def test_a_feature_exists_from_its_version_on(told: str, imports: bool, halves: bool) -> None:
    """Lite never has it, because it numbers its versions differently."""
    assert (MilvusRelease.of(told).imports_files, MilvusRelease.of(told).has_halves) == (
        imports,
        halves,
    )


@pytest.mark.parametrize("backend", [LITE, NEWEST], ids=str)
def test_every_listed_index_type_accepts_its_defaults(backend: MilvusRelease) -> None:
    """The default parameters are among those allowed."""
    for name in backend.index_types():
        assert backend.check_index_type(name.lower()) == name
        usual = build_params(name, {})
        wide = search_params(name, 10, {})["params"]
        assert isinstance(wide, dict)
        check_params(name, usual, wide)


@pytest.mark.parametrize(
    ("told", "name", "newer"),
    [
        ("milvus_lite-3.2.2", "DISKANN", ""),  # it could never be opened again
        ("v2.3.5", "HNSW_SQ", "from 2.5 on"),
        ("v2.5.13", "IVF_RABITQ", "from 2.6 on"),
        ("v2.6.0", "HNSWW", ""),
    ],
)
def test_an_unknown_index_type_is_refused(told: str, name: str, newer: str) -> None:
    """The message names the type, the known types, and the server version that added it."""
    with pytest.raises(ConfigError, match=name) as caught:
        MilvusRelease.of(told).check_index_type(name)
    assert "FLAT" in caught.value.expected
    assert newer in caught.value.expected


@pytest.mark.parametrize("told", ["milvus_lite-3.2.2", "v2.3.5", "unknown"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_vectors_are_refused_where_unsupported(told: str, dtype: str) -> None:
    """The message says what is needed; float32 is accepted everywhere."""
    backend = MilvusRelease.of(told)
    backend.check_vector_dtype("float32")
    with pytest.raises(ConfigError, match=dtype) as caught:
        backend.check_vector_dtype(dtype)  # type: ignore[arg-type]
    assert "2.4" in caught.value.expected
    MilvusRelease.of("v2.4.0").check_vector_dtype(dtype)  # type: ignore[arg-type]
