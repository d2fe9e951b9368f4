"""SIGKILL between the writes of a sync, on a real Milvus Lite; another process finishes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.crashes import CHANGED
from tests.killed_process import a_living
from tests.living import assert_same, audited

pytestmark = pytest.mark.slow


def run(folder: Path, command: str, point: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.killed_process", str(folder), command, point],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_sync_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    """Before each of its writes to the index: as many processes die."""
    (tmp_path / "trial").mkdir()
    assert run(tmp_path / "trial", "ingest", "none").returncode == 0
    trial = run(tmp_path / "trial", "sync", "none")
    points = trial.stdout.splitlines()
    chosen = [n for n, point in enumerate(points) if point.startswith("index:")]
    assert len(chosen) >= 8, trial.stderr
    for at in chosen:
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        assert run(folder, "ingest", "none").returncode == 0
        killed = run(folder, "sync", str(at))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        again = run(folder, "sync", "none")
        assert again.returncode == 0, again.stderr
        living = a_living(folder)
        with closing(living.index):
            living.items = CHANGED
            assert [str(one) for one in audited(living).findings] == [], points[at]
            assert_same(living, living.rebuilt(folder / "rebuilt"))
