"""A run on this machine's own Ray and Prefect: no other machine can reach a port of it."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.open_ports import listening, off_loopback
from tests.support.project_folder import end, family_of, start, write_project

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_a_run_on_ray_listens_on_loopback_alone(minilm: EncoderSpec, tmp_path: Path) -> None:
    """Looked at all the time: the driver, Prefect, and every process of Ray."""
    project = write_project(tmp_path / "project")
    process = start("ingest", "-s", "workers.pool=ray", cwd=project, log=tmp_path / "ingest")
    seen: set[tuple[str, str, int]] = set()
    try:
        while process.poll() is None:
            seen.update(listening([psutil.Process(process.pid), *family_of(process)]))
            time.sleep(0.2)
    finally:
        end(process, family_of(process))
    assert process.returncode == 0, (tmp_path / "ingest.err").read_text()
    names = {name for name, _, _ in seen}
    assert {"gcs_server", "raylet"} <= names
    assert len(names) > 3
    assert off_loopback(seen) == []
