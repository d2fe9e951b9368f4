"""The command in odd environments: it works, or says in one message what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.project_folder import TIMEOUT_S, Ended, Undisturbed, environment

pytestmark = pytest.mark.timeout(1800)

PROXY = "http://127.0.0.1:9"  # nothing listens there
PROXIES = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), PROXY)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Root may write anywhere; without these rights the permissions count for root too.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")


def typed(
    project: Path, *arguments: str, variables: Mapping[str, str | None], user: bool = False
) -> Ended:
    """The command with these variables changed; None removes one.

    Args:
        user: as a user whom the folders' permissions bind.
    """
    changed = environment() | {k: v for k, v in variables.items() if v is not None}
    for name in (name for name, value in variables.items() if value is None):
        changed.pop(name, None)
    as_user = WITHOUT_RIGHTS if user and os.getuid() == 0 else ()
    if as_user and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, or to be run by another user than root")
    started = time.monotonic()
    done = subprocess.run(
        [*as_user, sys.executable, "-m", "mrag_pipeline.cli", *arguments],
        cwd=project,
        env=changed,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@pytest.fixture
def read_only(undisturbed: Undisturbed) -> Iterator[Path]:
    """The project, its index in folders that cannot be written."""
    database = undisturbed.project / ".mrag" / "index.db"
    paths = [database, database / "LOCK", *(path for path in database.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield undisturbed.project
    for path, mode in modes.items():
        path.chmod(mode)


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


def test_a_read_only_index_is_searched(read_only: Path) -> None:
    """Searching writes nothing."""
    ended = typed(read_only, "search", "who paints the violin", "--json", variables={}, user=True)
    assert ended.code == 0, ended.err
    assert ended.json()[0]["hits"]


@pytest.mark.parametrize("command", [("activate", "VERSION"), ("repair",)])
def test_a_read_only_index_is_not_changed(
    read_only: Path, undisturbed: Undisturbed, command: tuple[str, ...]
) -> None:
    """Exit 2 in seconds, with what is missing, and no word of moving it away."""
    version = undisturbed.second.json()["version"]
    arguments = [version if word == "VERSION" else word for word in command]
    ended = typed(read_only, *arguments, variables={}, user=True)
    assert ended.code == 2, ended.err
    assert "it can be searched only" in ended.err
    assert "away" not in ended.err
