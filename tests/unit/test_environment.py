"""Streams, proxies and folders are made fit for the libraries; nothing else is touched."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from mrag_pipeline import environment
from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.runtime.pools import check_ray
from tests.support.environment_table import ODD, table

ROOT = Path(__file__).parents[2]
NAMES = (
    *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    *("grpc_proxy", "GRPC_PROXY", "no_proxy", "NO_PROXY", "HOME", "PREFECT_HOME", "MPLCONFIGDIR"),
    *("TMPDIR", "RAY_TMPDIR"),
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user with a home and without proxies; every variable is restored after the test."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def run_with(closed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with some of its streams closed, as a shell writes it."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_commands_run_with_closed_streams(closed: str) -> None:
    """What would be printed there is dropped; an error's exit code is the same."""
    keys = run_with(closed, "-m", "mrag_pipeline", "keys", "new", "x", "--json")
    assert (keys.returncode, keys.stderr) == (0, "")
    assert bool(keys.stdout) == (closed == "2>&-")
    failed = run_with(closed, "-m", "mrag_pipeline", "status", "--config", "/no/such/file")
    assert failed.returncode == ConfigError.exit_code
    assert "Traceback" not in failed.stdout + failed.stderr


def test_the_number_of_a_closed_stream_is_no_files(tmp_path: Path) -> None:
    """Nor a child process's: what is printed spoils nothing."""
    code = f"""
import os, subprocess
from mrag_pipeline import environment
environment.open_closed_streams()
with open({str(tmp_path / "kept")!r}, "w") as file:
    os.write(1, b"printed")
    print("printed", flush=True)
    subprocess.run(["sh", "-c", "echo printed && cat"], check=True)
    file.write("kept")
"""
    ended = run_with("<&- >&-", "-c", code)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "kept").read_text() == "kept"


def test_without_anything_odd_nothing_is_set() -> None:
    """A usual machine keeps its environment as it is."""
    before = dict(os.environ)
    environment.settle()
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "grpc_proxy"])
def test_loopback_never_goes_through_a_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spellings name it, with what the user spares beside it."""
    monkeypatch.setenv(name, "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "example.org, 127.0.0.1")
    environment.settle()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert os.environ["no_proxy"].split(",") == ["example.org", "127.0.0.1", "localhost", "::1"]


def test_a_home_that_cannot_be_written_lends_prefect_another_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only this user can read it; what lies in the home folder is read from there as before."""
    writable = environment.is_writable
    monkeypatch.setattr(environment, "is_writable", lambda p: p != tmp_path and writable(p))
    environment.settle()
    folder = Path(os.environ["PREFECT_HOME"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize("missing", [True, False])
def test_a_user_without_a_home_gets_one(missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME names no folder, or is unset and the user is in no list."""
    if missing:
        monkeypatch.setattr(Path, "home", _no_home)
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", "/nonexistent")
    environment.settle()
    assert Path(os.environ["HOME"]).is_dir()
    assert Path(os.environ["HOME"]).name.startswith("mrag-")


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_private_folder_that_others_could_read_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name is known, so somebody else may have made it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"mrag-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"mrag-{os.getuid()}").chmod(0o777)
    folder = environment.private_folder()
    assert folder.name != f"mrag-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_temporary_folder_too_long_for_sockets_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray would take it and fail."""
    long = tmp_path / ("x" * environment.MAX_SOCKETS_PATH)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    environment.settle()
    assert os.environ["RAY_TMPDIR"] == "/tmp"
    assert os.environ["TMPDIR"] == str(long)


def test_no_place_for_sockets_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every folder that was tried, and the variable that helps."""
    monkeypatch.setenv("TMPDIR", "/nowhere/to/be/found")
    monkeypatch.setattr(environment, "is_writable", lambda _: False)
    with pytest.raises(ConfigError, match="/nowhere/to/be/found, /tmp, /var/tmp") as caught:
        environment.sockets_folder()
    assert "RAY_TMPDIR" in caught.value.fix


def test_a_chosen_folder_for_sockets_is_taken_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray takes what RAY_TMPDIR names, whether it can be used or not."""
    monkeypatch.setenv("RAY_TMPDIR", "/var/tmp")
    assert environment.sockets_folder() == "/var/tmp"
    long = tmp_path / ("x" * environment.MAX_SOCKETS_PATH)
    long.mkdir()
    for refused in (str(long), "/missing"):
        monkeypatch.setenv("RAY_TMPDIR", refused)
        with pytest.raises(ConfigError, match=f"RAY_TMPDIR={refused} is missing, cannot"):
            environment.sockets_folder()


@pytest.mark.parametrize(
    ("workers", "is_refused"),
    [({"pool": "ray"}, True), ({}, False), ({"pool": "ray", "address": "auto"}, False)],
)
def test_a_run_that_names_a_local_ray_is_refused_before_it_reads(
    workers: dict[str, str], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `auto` no Ray may be needed, and a cluster's sockets are not ours."""
    monkeypatch.setenv("RAY_TMPDIR", "/missing")
    refused = pytest.raises(ConfigError, match="RAY_TMPDIR=/missing is missing, cannot")
    with refused if is_refused else nullcontext():
        check_ray(Config.parse({"workers": workers}))


def test_a_temporary_folder_that_is_missing_is_made_by_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python goes to /tmp; Ray would make it, where this user can."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a"))
    monkeypatch.setattr(environment, "MAX_SOCKETS_PATH", 200)
    environment.settle()
    assert environment.sockets_folder() == os.environ["RAY_TMPDIR"] == "/tmp"
    assert not (tmp_path / "a").exists()


def test_a_usual_machine_has_no_remarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mrag doctor` says nothing more of it."""
    monkeypatch.setattr("locale.getencoding", lambda: "UTF-8")
    environment.settle()
    assert environment.remarks() == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("grpc_proxy", "http://user:secret@proxy:3128", "grpc_proxy is proxy:3128, not used for"),
        ("HOME", "", "HOME is not set"),
        ("HOME", "/nonexistent", "HOME is not set, or names no folder"),
        ("TMPDIR", "/nonexistent", "TMPDIR /nonexistent is missing or cannot be written"),
        ("TMPDIR", "LONG", "that leave room for a socket's name: sockets are in /tmp"),
        ("LC_ALL", "C", "the locale is plain ASCII or unknown (LC_ALL=C)"),
    ],
)
def test_what_is_odd_is_remarked(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line each, without a proxy's password."""
    if value == "LONG":
        value = str(tmp_path / ("x" * environment.MAX_SOCKETS_PATH))
        Path(value).mkdir()
    monkeypatch.setenv(name, value)
    if not value:
        monkeypatch.delenv(name)
    encoding = "ANSI_X3.4-1968" if name == "LC_ALL" else "UTF-8"
    monkeypatch.setattr("locale.getencoding", lambda: encoding)
    environment.settle()
    [remark] = environment.remarks()
    assert told in remark
    assert "secret" not in remark


def test_the_page_has_the_environments_that_are_tested() -> None:
    """Each once, with what happens, what `mrag doctor` says and which tests hold it."""
    page = Path(__file__).parents[2] / "docs" / "environments.md"
    assert len({odd.name for odd in ODD}) == len(ODD)
    assert f"\n\n{table()}\n\n" in page.read_text("utf-8"), (
        f"docs/environments.md lacks:\n{table()}"
    )


@pytest.fixture
def mask() -> Iterator[None]:
    """The process's mask, restored after the test."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize(("given", "file", "folder"), [("", 0o600, 0o700), ("027", 0o640, 0o750)])
def test_what_is_written_is_the_users_alone(
    given: str, file: int, folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless MRAG_UMASK lets others in."""
    if given:
        monkeypatch.setenv("MRAG_UMASK", given)
    environment.keep_private()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a text")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == folder


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize("given", ["", "rw", "888", "1777", "27 "])
def test_what_is_no_mask_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with an example."""
    monkeypatch.setenv("MRAG_UMASK", given)
    with pytest.raises(ConfigError, match="MRAG_UMASK"):
        environment.keep_private()
