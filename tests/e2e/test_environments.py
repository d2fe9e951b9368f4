"""The command in odd environments: it works, or says in one message what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.support import odd_environments
from tests.support.odd_environments import ASCII, EVERY_PROXY, PROXIES, PROXY, served, typed
from tests.support.project_folder import Undisturbed

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def user() -> tuple[str, ...]:
    """What a command begins with to be bound by the folders' permissions."""
    words = odd_environments.as_user()
    if words is None:
        pytest.skip("needs setpriv, or to be run by another user than root")
    return words


@pytest.fixture
def read_only(undisturbed: Undisturbed) -> Iterator[Path]:
    """The project, its index in folders that cannot be written."""
    with odd_environments.read_only(undisturbed.project / ".mrag" / "index.db"):
        yield undisturbed.project


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(PROXIES, id="proxies without NO_PROXY"),
        pytest.param({"ALL_PROXY": PROXY, "grpc_proxy": PROXY}, id="proxies for everything"),
        pytest.param({"HOME": None}, id="HOME unset"),
        pytest.param({"HOME": "/nonexistent"}, id="HOME missing"),
        pytest.param({"TMPDIR": "/nonexistent"}, id="TMPDIR missing"),
        pytest.param({"LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"}, id="unknown locale"),
    ],
)
def test_the_index_is_read(undisturbed: Undisturbed, variables: Mapping[str, str | None]) -> None:
    """As in the environment that built it."""
    ended = typed(undisturbed.project, "versions", "--json", variables=variables)
    assert ended.code == 0, ended.err
    rows = ended.json()["versions"]
    assert [row["documents"] for row in rows] == [undisturbed.second.json()["documents"]]


def test_a_question_beyond_ascii_in_an_ascii_locale(undisturbed: Undisturbed) -> None:
    """It arrives as it was typed, and its answer is printed in full."""
    question = "who sells the café"
    ended = typed(undisturbed.project, "search", question, "--json", variables=ASCII)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["query"] == question


def test_a_read_only_index_is_searched(read_only: Path, user: tuple[str, ...]) -> None:
    """Searching writes nothing."""
    question = "who paints the violin"
    ended = typed(read_only, "search", question, "--json", variables={}, before=user)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["hits"]


@pytest.mark.parametrize("command", [("activate", "VERSION"), ("repair",)])
def test_a_read_only_index_is_not_changed(
    read_only: Path, undisturbed: Undisturbed, command: tuple[str, ...], user: tuple[str, ...]
) -> None:
    """Exit 2 in seconds, with what is missing, and no word of moving it away."""
    version = undisturbed.second.json()["version"]
    arguments = [version if word == "VERSION" else word for word in command]
    ended = typed(read_only, *arguments, variables={}, before=user)
    assert ended.code == 2, ended.err
    assert "it can be searched only" in ended.err
    assert "away" not in ended.err


def test_an_ingest_behind_a_proxy_that_refuses(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Milvus Lite and what records the run are reached directly; nothing else is needed."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    shutil.rmtree(project / ".mrag")
    arguments = ("ingest", "--json", "-s", "workers.pool=serial")
    ended = typed(project, *arguments, variables=EVERY_PROXY)
    assert ended.code == 0, ended.err
    assert ended.json()["documents"] == undisturbed.second.json()["documents"]


def test_a_service_behind_a_proxy_that_refuses(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """It is ready, answers, and ends by Ctrl-C."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    with served(project, EVERY_PROXY) as url:
        body = {"query": "who paints the violin"}
        answered = httpx.post(f"{url}/v1/search", json=body, timeout=60, trust_env=False)
    assert answered.status_code == 200, answered.text
    assert answered.json()["hits"]
