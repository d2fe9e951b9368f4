"""Filters sent to the API mean what `domain/filters.py` says, whatever characters they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from mrag_pipeline.domain import filters
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.living_index import Living
from tests.support.query_service import Bound, a_backend, a_client, found

# What breaks out of a string, ends a comment, is a wildcard, an operator or an escape somewhere.
HOSTILE = (
    *("", " ", "'", '"', "\\", "\\\\", "\\'", '\\"', "a'b", 'a"b', "%", "_", "a%", "%%", "\n"),
    *("' or 1 == 1 or '", '" or chunk_id > 0 or "', '") or (1 == 1', "\\u0027", "{x}", "$meta"),
    *("1", "1.0", "true", "null", "NaN", "metadata['owner']", "é", "e\u0301", "💥", "\ufeff"),
    *(
        "--",
        "/*",
        "*/",
        "not",
        "and",
        "in [",
        "]",
        "[1, 2]",
        "\x00",
        "\x7f",
        "\u2028",
        "ｔｉｔｌｅ",
    ),
)
KEYS = ("year", "name", "flag", "it's", 'a "key"', "back\\slash", "per%cent", "ключ", "owner")
VALUES: tuple[Any, ...] = (0, 1, -1, 1.0, 0.5, 2020, 2**53 + 1, -(2**63), True, False, *HOSTILE)


def documents() -> list[Document]:
    """One document for each value, under each key in turn; every third is acme's."""
    made = []
    for at, value in enumerate(VALUES):
        metadata = {KEYS[at % len(KEYS)]: value, KEYS[(at + 3) % len(KEYS)]: VALUES[at - 1]}
        metadata |= {"tenant": "acme" if at % 3 == 0 else "'acme"}
        title = HOSTILE[at % len(HOSTILE)]
        made.append(Document(f"d{at}", "bees hum", title=title, metadata=metadata, source="s"))
    return made


DOCUMENTS = documents()
SPEC = ServeSpec(tenant_field="tenant", max_k=100)


@pytest.fixture(scope="module", params=["exact", "lite"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient, TestClient]]:
    """Everybody's client and acme's, of a service over either index."""
    folder = tmp_path_factory.mktemp(request.param)
    index: VectorIndex = ExactIndex("docs")
    if request.param == "lite":
        index = open_index(MilvusSpec(uri=str(folder / "index.db")), "docs")
    with closing(index):
        living = Living(folder / "staging", DOCUMENTS, index)
        living.ingest()
        backend = a_backend(living, SPEC)
        yield a_client(backend, SPEC), a_client(backend, SPEC, Bound("acme"))
        backend.close()


texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=6))
values = st.one_of(
    texts,
    st.booleans(),
    st.sampled_from(VALUES),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
fields = st.one_of(
    st.sampled_from(["title", "document_id"]),
    st.sampled_from(KEYS).map(lambda key: "metadata." + key.replace("\\", "\\\\")),
    st.sampled_from(["metadata.tenant", "metadata.owner.name", "metadata.it's.x"]),
    texts.map(lambda text: f"metadata.{text}"),
    texts,
)
conditions = st.one_of(
    st.fixed_dictionaries(
        {"field": fields, "op": st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"])}
        | {"value": values}
    ),
    st.fixed_dictionaries({"field": fields, "op": st.just("prefix"), "value": texts}),
    st.fixed_dictionaries({"field": fields, "op": st.just("exists")}),
    st.fixed_dictionaries(
        {"field": fields, "op": st.just("in"), "value": st.lists(values, max_size=4)}
    ),
)
wanted = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)


def meant(plain: dict[str, Any]) -> set[str] | None:
    """The documents that the filter means, None if it means nothing."""
    try:
        parsed = filters.parse(plain)
    except ConfigError:
        return None
    rows = {one.id: _Row(one) for one in DOCUMENTS}
    return {name for name, row in rows.items() if filters.matches(parsed, row)}


class _Row:
    def __init__(self, document: Document) -> None:
        self.document_id = document.id
        self.title = document.title
        self.metadata = document.metadata


def check(clients: tuple[TestClient, TestClient], plain: dict[str, Any]) -> None:
    """Asks both for all documents that match."""
    everybody, acme = clients
    body = {"query": "bees", "k": 100, "strategy": "standard", "filter": plain}
    expected = meant(plain)
    mine = {one.id for one in DOCUMENTS if one.metadata["tenant"] == "acme"}
    for client, allowed in ((everybody, {one.id for one in DOCUMENTS}), (acme, mine)):
        response = client.post("/v1/search", json=body)
        if expected is None:
            assert response.status_code == 422, response.text
        else:
            assert response.status_code == 200, response.text
            assert set(found(response.json())) == expected & allowed


fuzzed = settings(
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@given(wanted)
@example({"field": "title", "op": "ne", "value": '" or chunk_id > 0 or "'})
@example({"not": {"field": "metadata.tenant", "op": "eq", "value": "acme"}})
@example(
    {"any": [{"field": "metadata.tenant", "op": "exists"}, {"field": "title", "op": "exists"}]}
)
@example({"field": "metadata.tenant", "op": "prefix", "value": "'"})
@example({"field": "metadata.flag", "op": "eq", "value": 1})
@settings(fuzzed, max_examples=60)
def test_a_filter_finds_what_it_means_and_nothing_else(
    asked: tuple[TestClient, TestClient], plain: dict[str, Any]
) -> None:
    """On either index; and never a document of another tenant."""
    check(asked, plain)


@pytest.mark.slow
@given(wanted)
@settings(fuzzed, max_examples=1000)
def test_a_filter_finds_what_it_means_at_length(
    asked: tuple[TestClient, TestClient], plain: dict[str, Any]
) -> None:
    """Seventeen times as often."""
    check(asked, plain)


@pytest.mark.parametrize("value", HOSTILE)
def test_each_hostile_value_is_only_a_value(
    asked: tuple[TestClient, TestClient], value: str
) -> None:
    """As a title, as metadata, as a key and as a tenant."""
    key = value.replace("\\", "\\\\").replace(".", "\\.")
    for plain in (
        {"field": "title", "op": "eq", "value": value},
        {"field": "metadata.name", "op": "in", "value": [value, value + "x"]},
        {"field": f"metadata.{key}", "op": "exists"},
    ):
        check(asked, plain)
    body = {"query": "bees", "k": 100, "tenant": value}
    response = asked[0].post("/v1/search", json=body)
    assert response.status_code in (200, 422)
    if response.status_code == 200:
        assert found(response.json()) == []
