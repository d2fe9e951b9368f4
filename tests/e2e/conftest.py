"""One ingest without faults, and its repetition, shared by all end-to-end tests."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.prefect_server import shared_prefect_server
from tests.support.project_folder import (
    Mrag,
    Undisturbed,
    contents,
    run,
    staged_files,
    write_project,
)
from tests.support.typed_commands import typed_here


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all commands of all processes: it takes seven seconds to start."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with shared_prefect_server(folder / "prefect") as url:
        yield url


@pytest.fixture(scope="session")
def undisturbed(
    minilm: EncoderSpec, prefect: str, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """Ingests twice with real Ray, Milvus Lite and MiniLM; first without a Prefect server."""
    folder = tmp_path_factory.mktemp("e2e")
    project = write_project(folder / "project")
    first = run("ingest", cwd=project, log=folder / "first")
    assert first.code == 0, first.err
    files = staged_files(project)
    second = run("ingest", "--json", cwd=project, log=folder / "second", prefect=prefect)
    assert second.code == 0, second.err
    return Undisturbed(project, first, second, files, staged_files(project), contents(project))


@pytest.fixture(scope="module")
def project(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built project for one module, because a Lite database has one owner."""
    copy = tmp_path_factory.mktemp("own") / "project"
    shutil.copytree(undisturbed.project, copy)
    return copy


@pytest.fixture
def disturbed(undisturbed: Undisturbed, tmp_path: Path) -> Iterator[Path]:
    """The same project in the same folder, with nothing built; restored after the test."""
    project = undisturbed.project
    (project / ".mrag").rename(tmp_path / "kept")
    yield project
    shutil.rmtree(project / ".mrag", ignore_errors=True)
    (tmp_path / "kept").rename(project / ".mrag")


@pytest.fixture
def mrag(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    minilm: EncoderSpec,
    prefect: str,
) -> Iterator[Mrag]:
    """Runs the command in this process, in an empty folder, with the packaged MiniLM."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("mrag.toml").write_text(f'index = "bad"\n[encoder]\nmodel = "{minilm.model}"\n')

    # Prefect's log handler keeps the standard error of the first test that ran a flow.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    with temporary_settings({PREFECT_API_URL: prefect}):
        yield typed_here(monkeypatch, capfd)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; skips where this user may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
