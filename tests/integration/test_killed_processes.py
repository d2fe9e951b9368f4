"""SIGKILL between the writes of a command, on a real Milvus Lite; another process finishes it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.domain.version import version_in
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.killed_process import a_living
from tests.support.living_index import assert_same, audited

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(folder: Path, command: str, point: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.killed_process", str(folder), command, point],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "at_least"), [("sync", 8), ("retire", 4), ("import", 8), ("reindex", 8)]
)
def test_a_command_killed_anywhere_is_finished_by_the_next(
    command: str, at_least: int, tmp_path: Path
) -> None:
    """Killed before each write to the index; afterwards nothing is lost or duplicated."""
    start = tmp_path / "start"
    start.mkdir()
    prepared = run(start, command, "prepare")
    assert prepared.returncode == 0, prepared.stderr
    shutil.copytree(start, tmp_path / "trial")
    trial = run(tmp_path / "trial", command, "none")
    points = trial.stdout.splitlines()
    chosen = [n for n, point in enumerate(points) if point.startswith("index:")]
    assert len(chosen) >= at_least, trial.stderr
    for step in chosen:
        folder = tmp_path / f"step-{step}"
        shutil.copytree(start, folder)
        killed = run(folder, command, str(step))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        again = run(folder, command, "none")
        assert again.returncode == 0, (points[step], again.stderr)
        living = a_living(folder, command)
        with closing(living.index) as index:
            assert [str(finding) for finding in audited(living).findings] == [], points[step]
            assert_same(living, living.rebuilt(folder / "rebuilt"))
            if command != "reindex":
                left = {version_in("docs", name) for name in index.collections()}
                assert left == {live_record(index).version}, points[step]
        shutil.rmtree(folder)
