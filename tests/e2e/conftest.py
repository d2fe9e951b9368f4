"""One undisturbed ingest, and the same command again, for all end-to-end tests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrag_pipeline.domain.heads import EncoderSpec
from tests.e2e.project import Ended, contents, run, staged_files, write_project


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a run that nobody disturbs gives."""

    project: Path
    first: Ended  # plain
    second: Ended  # --json
    files: Mapping[str, str]
    files_after_second: Mapping[str, str]
    rows: dict[str, dict[int, bytes]]


@pytest.fixture(scope="session")
def undisturbed(minilm: EncoderSpec, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Ingests twice: real Prefect, Ray, Milvus Lite and MiniLM, each started by the command."""
    folder = tmp_path_factory.mktemp("e2e")
    project = write_project(folder / "project")
    first = run("ingest", cwd=project, log=folder / "first")
    assert first.code == 0, first.err
    files = staged_files(project)
    second = run("ingest", "--json", cwd=project, log=folder / "second")
    assert second.code == 0, second.err
    return Undisturbed(project, first, second, files, staged_files(project), contents(project))


@pytest.fixture
def disturbed(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """The same project at the same place, nothing built yet; the built one comes back after."""
    project = undisturbed.project
    (project / ".mrag").rename(tmp_path / "kept")
    yield project
    shutil.rmtree(project / ".mrag", ignore_errors=True)
    (tmp_path / "kept").rename(project / ".mrag")
