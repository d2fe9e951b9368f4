"""docs/api.md: its examples are answered, its table is the table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import pytest
from starlette.testclient import TestClient

from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.problem_table import CLIENT_LEFT, INTERNAL, TABLE, kind_of, type_of
from mrag_pipeline.wire.schemas import Problem, SearchAnswer
from tests.support.query_service import TENANTS, Parrot, a_backend, a_client, a_living

DOC = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = DOC.read_text("utf-8")
MARKS = ("<!-- problems: ", "<!-- end of problems -->")


def commands() -> list[str]:
    """Every curl command of the document."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    return [
        one for block in blocks for one in re.findall(r"^curl .*?(?=^curl |\Z)", block, re.M | re.S)
    ]


def table() -> str:
    """The table of problems as the document should have it."""
    lines = ["| status | title | type | when |", "|---|---|---|---|"]
    rows = [(row, type_of(kind)) for kind, row in TABLE.items()]
    rows.append((INTERNAL, kind_of(Exception)[0]))
    for row, name in sorted(rows, key=lambda one: one[0].status):
        if row.status != CLIENT_LEFT:
            lines.append(f"| {row.status} | {row.title} | `{name}` | {row.when} |")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A service with tenants and a chat model."""
    backend = a_backend(a_living(tmp_path_factory.mktemp("living")), TENANTS)
    return a_client(backend, TENANTS, answerer=Answerer(Parrot(), 3000))


@pytest.mark.parametrize("command", commands())
def test_an_example_is_answered(client: TestClient, command: str) -> None:
    """Runs the command as curl would."""
    found: Any = client.post("/v1/search", json={"query": "dog", "tenant": "acme"}).json()
    filled = Template(command).substitute(MRAG="", CHUNK_ID=found["hits"][0]["chunk_id"])
    words = shlex.split(filled)[1:]
    body = words[words.index("--json") + 1] if "--json" in words else None
    [path] = [word for word in words if word.startswith("/")]
    if body is None:
        response = client.get(path)
    else:
        headers = {"content-type": "application/json"}
        response = client.post(path, content=body, headers=headers)
    assert response.status_code == 200, response.text


def test_the_examples_are_found() -> None:
    """One for each endpoint at least."""
    joined = " ".join(commands())
    for path in ("search", "search/batch", "answer", "index", "chunks/"):
        assert f"/v1/{path}" in joined
    assert len(commands()) >= 12


def test_the_shown_answers_fit_the_schema() -> None:
    """The shown responses have the service's format."""
    answer, problem = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    SearchAnswer.model_validate_json(answer, strict=True)
    told = Problem.model_validate_json(problem, strict=True)
    kinds = {type_of(kind): row for kind, row in TABLE.items()}
    assert (told.status, told.title) == (kinds[told.type].status, kinds[told.type].title)


def test_the_table_of_problems_is_the_services() -> None:
    """Print `table()` to renew it."""
    start = TEXT.index("\n", TEXT.index(MARKS[0])) + 1
    assert TEXT[start : TEXT.index(MARKS[1])].strip() == table()
