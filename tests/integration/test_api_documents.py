"""/v1/documents, /v1/document and neighbours: as documented, within the caller's tenant."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from mrag_pipeline.wire.document_schemas import (
    DocumentList,
    DocumentPassages,
    PassageNeighbours,
)
from tests.support.living_index import Living
from tests.support.query_service import TENANTS, Bound, a_backend, a_client, a_living


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture(scope="module")
def client(living: Living) -> TestClient:
    """A service with tenants, for a key that may name any."""
    return a_client(a_backend(living, TENANTS), TENANTS)


@pytest.fixture(scope="module")
def acme(living: Living) -> TestClient:
    """The same for acme's key."""
    return a_client(a_backend(living, TENANTS), TENANTS, guard=Bound("acme"))


def listed(client: TestClient, **parameters: str | int) -> list[str]:
    response = client.get("/v1/documents", params=parameters)
    body = DocumentList.model_validate_json(response.content, strict=True)
    return [document.document_id for document in body.documents]


def test_documents_are_listed_by_id_or_title(client: TestClient) -> None:
    """Any without a text; by a beginning; by the limit."""
    assert sorted(listed(client)) == ["cake", "dog", "reed", "star", "sword"]
    assert listed(client, text="St") == ["star"]
    assert len(listed(client, limit=2)) == 2
    assert listed(client, text="zebra") == []


def test_a_document_is_read_page_by_page(client: TestClient) -> None:
    """Its facts come with every page; the passages are those that searches return."""
    whole = client.get("/v1/document", params={"id": "dog"})
    document = DocumentPassages.model_validate_json(whole.content, strict=True)
    assert (document.title, document.metadata["year"]) == ("Dog", 2001)
    assert document.num_passages == len(document.passages) >= 1
    first = document.passages[0]
    assert client.get(f"/v1/chunks/{first.chunk_id}").json() == first.model_dump()
    after = client.get("/v1/document", params={"id": "dog", "offset": 10**9}).json()
    assert (after["passages"], after["num_passages"]) == ([], document.num_passages)


def test_a_passage_has_neighbours_in_every_head(client: TestClient) -> None:
    """One row for each head and one for the standard vector; k documents at most."""
    found = client.get("/v1/document", params={"id": "dog"}).json()["passages"][0]
    response = client.get(f"/v1/chunks/{found['chunk_id']}/neighbours", params={"k": 2})
    near = PassageNeighbours.model_validate_json(response.content, strict=True)
    heads = [head["name"] for head in client.get("/v1/index").json()["heads"]]
    assert [row.voter for row in near.voters] == [*heads, "standard"]
    assert all(1 <= len(row.neighbours) <= 2 for row in near.voters)
    assert near.document_id == "dog"


def test_a_tenant_sees_its_own_alone(client: TestClient, acme: TestClient) -> None:
    """By its key or by its name; another's document is 404, and no one's neighbour."""
    assert sorted(listed(acme)) == sorted(listed(client, tenant="acme")) == ["dog", "star"]
    assert acme.get("/v1/document", params={"id": "cake"}).status_code == 404
    assert acme.get("/v1/documents", params={"tenant": "umbrella"}).status_code == 403
    cake, dog = (
        client.get("/v1/document", params={"id": name}).json()["passages"][0]["chunk_id"]
        for name in ("cake", "dog")
    )
    assert acme.get(f"/v1/chunks/{cake}/neighbours").status_code == 404
    near = acme.get(f"/v1/chunks/{dog}/neighbours", params={"k": 9}).json()
    found = {each["document_id"] for row in near["voters"] for each in row["neighbours"]}
    assert found == {"star"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/documents?limit=101",
        f"/v1/documents?text={'x' * 513}",
        "/v1/document",
        "/v1/document?id=dog&offset=-1",
        "/v1/chunks/x/neighbours",
        "/v1/chunks/1/neighbours?k=51",
    ],
)
def test_what_does_not_fit_is_refused(client: TestClient, path: str) -> None:
    """With the place."""
    response = client.get(path)
    assert response.status_code == 422
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "path", ["/v1/document?id=zebra", "/v1/chunks/9223372036854775808/neighbours"]
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    """Also a number that no chunk can have."""
    problem = client.get(path)
    assert (problem.status_code, problem.json()["title"]) == (404, "Not found")
