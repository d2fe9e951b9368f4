"""The compose stack comes up as its files say: Prefect, worker and query service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.compose_stack import UNSHARED
from tests.support.project_folder import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_stack_comes_up_as_its_user_and_answers(tmp_path: Path) -> None:
    """A root of its own, user 1000, no capabilities: an ingest, schedules, an answer with a key.

    Services that have a healthcheck are waited for by it.
    """
    pytest.importorskip("milvus", reason="pip install --no-deps milvus==2.3.5")
    tools = ("unshare", "setpriv", "ip", "useradd")
    if os.getuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip(f"needs root, and {', '.join(tools)}")
    if subprocess.run([*UNSHARED, "true"], check=False).returncode != 0:
        pytest.skip("needs to be allowed a network and mounts of its own")
    done = subprocess.run(
        [
            *UNSHARED,
            *(sys.executable, "-m", "tests.deploy.compose_stack", str(tmp_path / "stack")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the query service is ready" in done.stdout
    assert "txt" in done.stdout.splitlines()[-1]
