"""The command in odd environments: it works, or says in one message what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support import odd_environments
from tests.support.environment_table import (
    ASCII,
    EVERY_PROXY,
    LONG,
    ODD,
    PROXIES,
    UNKNOWN,
    UNWRITABLE,
)
from tests.support.odd_environments import SERIAL, laid_out, read_only, served, typed
from tests.support.project_folder import UNRECORDED, Undisturbed, write_lines

pytestmark = pytest.mark.timeout(1800)
REFUSED_S = 60  # on a busy machine; docs/environments.md has what was measured


@pytest.fixture
def user() -> tuple[str, ...]:
    """What a command begins with to be bound by the folders' permissions."""
    words = odd_environments.as_user()
    if words is None:
        pytest.skip("needs setpriv, or to be run by another user than root")
    return words


@pytest.fixture
def unwritable(undisturbed: Undisturbed) -> Iterator[Path]:
    """The project, its index in folders that cannot be written."""
    with read_only(undisturbed.project / ".mrag" / "index.db"):
        yield undisturbed.project


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(PROXIES, id="proxies without NO_PROXY"),
        pytest.param({"HOME": None}, id="HOME unset"),
        pytest.param({"HOME": "/nonexistent"}, id="HOME missing"),
        pytest.param({"TMPDIR": "/nonexistent"}, id="TMPDIR missing"),
        pytest.param(UNKNOWN, id="unknown locale"),
    ],
)
def test_the_index_is_read(undisturbed: Undisturbed, variables: Mapping[str, str | None]) -> None:
    """As in the environment that built it."""
    ended = typed(undisturbed.project, "versions", "--json", variables=variables)
    assert ended.code == 0, ended.err
    rows = ended.json()["versions"]
    assert [row["documents"] for row in rows] == [undisturbed.second.json()["documents"]]


def test_a_question_behind_a_proxy_that_refuses(undisturbed: Undisturbed) -> None:
    """It is answered from the index on this machine."""
    question = "who paints the violin"
    ended = typed(undisturbed.project, "search", question, "--json", variables=EVERY_PROXY)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["hits"]


def test_a_question_beyond_ascii_in_an_ascii_locale(undisturbed: Undisturbed) -> None:
    """It arrives as it was typed, and its answer is printed in full."""
    question = "who sells the café"
    ended = typed(undisturbed.project, "search", question, "--json", variables=ASCII)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["query"] == question


def test_a_read_only_index_is_searched(unwritable: Path, user: tuple[str, ...]) -> None:
    """Searching writes nothing."""
    question = "who paints the violin"
    ended = typed(unwritable, "search", question, "--json", variables={}, before=user)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["hits"]


@pytest.mark.parametrize("command", [("activate", "VERSION"), ("repair",)])
def test_a_read_only_index_is_not_changed(
    unwritable: Path, undisturbed: Undisturbed, command: tuple[str, ...], user: tuple[str, ...]
) -> None:
    """Exit 2 in seconds, with what is missing, and no word of moving it away."""
    version = undisturbed.second.json()["version"]
    arguments = [version if word == "VERSION" else word for word in command]
    ended = typed(unwritable, *arguments, variables={}, before=user)
    assert ended.code == 2, ended.err
    assert "it can be searched only" in ended.err
    assert "away" not in ended.err


def test_a_staging_folder_that_cannot_be_written_is_refused_by_a_run(
    undisturbed: Undisturbed, user: tuple[str, ...]
) -> None:
    """Exit 6 in one message, before anything is planned; searching does not touch it."""
    with read_only(undisturbed.project / ".mrag" / "staging"):
        found = typed(undisturbed.project, "versions", variables={}, before=user)
        ended = typed(undisturbed.project, "ingest", *SERIAL, variables={}, before=user)
    assert found.code == 0, found.err
    assert ended.code == 6, ended.err
    assert ended.err.startswith("mrag: cannot write to the staging folder")
    assert ended.seconds < REFUSED_S


@pytest.mark.long
def test_a_run_where_home_and_temporary_folder_cannot_be_written(
    undisturbed: Undisturbed, tmp_path: Path, user: tuple[str, ...]
) -> None:
    """An ingest of two workers on Ray, recorded by Prefect, and a question."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    shutil.rmtree(project / ".mrag")
    variables = laid_out({"HOME": UNWRITABLE, "TMPDIR": UNWRITABLE}, tmp_path)
    ended = typed(project, "ingest", "--json", variables=variables, before=user)
    assert ended.code == 0, ended.err
    assert ended.json()["documents"] == undisturbed.second.json()["documents"]
    found = typed(project, "search", "who sells", "--json", variables=variables, before=user)
    assert found.code == 0, found.err
    assert list((tmp_path / "unwritable").iterdir()) == []


@pytest.mark.long
def test_an_ingest_on_ray_with_a_long_temporary_folder(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Ray's sockets are elsewhere."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    shutil.rmtree(project / ".mrag")
    variables = laid_out({"TMPDIR": LONG}, tmp_path)
    ended = typed(project, "ingest", "--json", variables=variables)
    assert ended.code == 0, ended.err
    assert ended.json()["documents"] == undisturbed.second.json()["documents"]


def test_a_folder_for_sockets_that_cannot_be_written_is_refused(
    undisturbed: Undisturbed, tmp_path: Path, user: tuple[str, ...]
) -> None:
    """Before anything is read, in one message."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    shutil.rmtree(project / ".mrag")
    variables = laid_out({"RAY_TMPDIR": UNWRITABLE} | UNRECORDED, tmp_path)
    ended = typed(project, "ingest", variables=variables, before=user)
    assert ended.code == 2, ended.err
    assert f"no folder for Ray's sockets: RAY_TMPDIR={tmp_path}/unwritable" in ended.err
    assert not (project / ".mrag").exists()
    assert ended.seconds < REFUSED_S


@pytest.mark.long
@pytest.mark.parametrize("visit", sorted({odd.visit for odd in ODD if odd.visit}))
def test_doctor_names_what_is_odd_beforehand(
    visit: str, undisturbed: Undisturbed, tmp_path: Path, user: tuple[str, ...]
) -> None:
    """Every row of the page that can be met with those beside it."""
    met = [odd for odd in ODD if odd.visit == visit]
    variables: dict[str, str | None] = {}
    with ExitStack() as held:
        for odd in met:
            variables |= laid_out(odd.variables, tmp_path)
            if odd.unwritable:
                held.enter_context(read_only(undisturbed.project / ".mrag" / odd.unwritable))
        ended = typed(undisturbed.project, "doctor", "--json", variables=variables, before=user)
    checks = {check["check"]: check for check in ended.json()}
    told = checks["environment"]["found"] + checks["folders"]["found"]
    assert [odd.name for odd in met if odd.doctor not in told] == [], told
    failed = {name for name, check in checks.items() if not check["ok"]}
    assert failed == ({"environment", "folders", "ray"} if visit == "sockets" else set())


def test_an_ingest_behind_a_proxy_that_refuses(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Milvus Lite and what records the run are reached directly; nothing else is needed."""
    shutil.copy(undisturbed.project / "mrag.toml", tmp_path)
    (tmp_path / "corpus").mkdir()
    write_lines(tmp_path / "corpus" / "a.jsonl", range(12))
    ended = typed(tmp_path, "ingest", "--json", *SERIAL, variables=EVERY_PROXY)
    assert ended.code == 0, ended.err
    assert ended.json()["documents"] == 12


@pytest.mark.long
def test_a_service_behind_a_proxy_that_refuses(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """It is ready, answers, and ends by Ctrl-C."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    with served(project, EVERY_PROXY) as url:
        body = {"query": "who paints the violin"}
        answered = httpx.post(f"{url}/v1/search", json=body, timeout=60, trust_env=False)
    assert answered.status_code == 200, answered.text
    assert answered.json()["hits"]
