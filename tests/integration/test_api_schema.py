"""The API tested against its own OpenAPI document: no 500, nothing undocumented."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.testclient import TestClient

from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.problem_table import CLIENT_LEFT, TABLE
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import Problem, SearchBody
from tests.support.query_service import Parrot, a_backend, a_client, a_living

SPEC = ServeSpec(max_k=7, max_query_chars=900, max_batch_queries=3, tenant_field="owner.name")
OPERATIONS = (
    ("POST", "/v1/search"),
    ("POST", "/v1/search/batch"),
    ("POST", "/v1/answer"),
    ("GET", "/v1/index"),
    ("GET", "/v1/chunks/{chunk_id}"),
    ("GET", "/v1/chunks/{chunk_id}/neighbours"),
    ("GET", "/v1/documents"),
    ("GET", "/v1/document"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
)
# Half of them fit the schema. A batch takes Hypothesis longest to make.
EXAMPLES = {"/v1/search": 60, "/v1/search/batch": 12, "/v1/answer": 30, "/v1/chunks/{chunk_id}": 30}
# What a schema cannot say (which windows a strategy takes, how deep a filter goes) is 422; and
# 504 is what a question gets that asks for an answer within 10 ms.
NOT_PROMISED = ("positive_data_acceptance", "not_a_server_error")

load_all_checks()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> InProcessBackend:
    """Over the toy index."""
    return a_backend(a_living(tmp_path_factory.mktemp("living")), SPEC)


@pytest.fixture(scope="module")
def client(backend: InProcessBackend) -> TestClient:
    """Asks the service."""
    return a_client(backend, SPEC)


@pytest.fixture(scope="module")
def schema(backend: InProcessBackend) -> Any:
    """The OpenAPI document of the service, with the service behind it."""
    app = create_api(backend, SPEC, OpenGuard(), NoObserver(), Answerer(Parrot(), 3000))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def asked(schema: Any, method: str, path: str, examples: int) -> set[int]:
    """Asks an operation with data that fits its schema and data that just does not.

    Returns: the statuses that were answered.
    """
    operation = schema[path][method]
    excluded = [one for one in CHECKS.get_all() if one.__name__ in NOT_PROMISED]
    seen: set[int] = set()

    def run(mode: GenerationMode) -> None:
        @given(operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        def ask(case: Any) -> None:
            seen.add(case.call_and_validate(excluded_checks=excluded).status_code)

        ask()

    run(GenerationMode.POSITIVE)
    if operation.body or operation.path_parameters:
        run(GenerationMode.NEGATIVE)
    return seen


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_service_keeps_to_its_document(schema: Any, method: str, path: str) -> None:
    """Documented statuses, media types and bodies; nothing that does not fit is accepted."""
    statuses = asked(schema, method, path, EXAMPLES.get(path, 2) // 2)
    assert 200 in statuses or path.startswith(("/v1/chunks/", "/v1/document"))
    assert statuses <= {200, 400, 404, 422, 501, 504}  # 501: this service has no reranker


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_service_keeps_to_its_document_at_length(schema: Any, method: str, path: str) -> None:
    """Ten times as often."""
    statuses = asked(schema, method, path, 5 * EXAMPLES.get(path, 2))
    assert statuses <= {200, 400, 404, 422, 504}


def test_every_operation_is_asked(schema: Any) -> None:
    """The list above is the document's."""
    listed = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert listed == set(OPERATIONS)


def test_every_problem_is_documented(client: TestClient) -> None:
    """Every endpoint documents each status that it can return, as a problem."""
    document = client.get("/openapi.json").json()
    asking = {400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504}
    expected = {
        "/v1/search": asking | {501, 502},
        "/v1/search/batch": asking | {501, 502},
        "/v1/answer": asking | {501, 502},
        "/v1/index": {401, 429, 500, 503, 504},
        "/v1/chunks/{chunk_id}": {401, 403, 404, 422, 429, 500, 503, 504},
        "/v1/chunks/{chunk_id}/neighbours": {401, 403, 404, 422, 429, 500, 503, 504},
        "/v1/documents": {401, 403, 422, 429, 500, 503, 504},
        "/v1/document": {401, 403, 404, 422, 429, 500, 503, 504},
        "/livez": {500},
        "/readyz": {500, 503},
    }
    for path, statuses in expected.items():
        [operation] = document["paths"][path].values()
        responses = operation["responses"]
        assert set(responses) == {"200", *map(str, statuses)}
        for status in statuses:
            [media] = responses[str(status)]["content"].items()
            assert media[0] == MEDIA_TYPE
            shown = Problem.model_validate(media[1]["example"], strict=True)
            assert shown.status == status
    documented = set().union(*expected.values())
    assert {row.status for row in TABLE.values()} - documented == {CLIENT_LEFT}


def test_the_document_says_this_services_limits(client: TestClient) -> None:
    """What the schema allows in length and number, the service allows."""
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchBody", "AnswerBody"):
        fields = schemas[name]["properties"]
        assert fields["k"]["anyOf"][0]["maximum"] == fields["k"]["default"] == 7
        assert fields["query"]["maxLength"] == 900
        assert set(fields["strategy"]["anyOf"][0]["enum"]) == set(STRATEGIES)
    assert schemas["BatchBody"]["properties"]["searches"]["maxItems"] == 3
    assert SearchBody.model_json_schema()["properties"]["k"]["default"] is None  # it stays whole


def test_every_example_of_the_document_is_answered(schema: Any, client: TestClient) -> None:
    """The bodies that a reader copies."""
    app = schema.app
    asking = TestClient(app)
    document = client.get("/openapi.json").json()
    num_asked = 0
    for path in ("/v1/search", "/v1/search/batch", "/v1/answer"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert asking.post(path, json=example["value"]).status_code == 200
            num_asked += 1
    assert num_asked == 5
