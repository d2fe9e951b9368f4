"""Machines that are cut off while they load a real Milvus server: their items are loaded again."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.cluster_ingest import write_project
from tests.support.cluster_load import WAYS, notes_of
from tests.support.network_namespaces import machines
from tests.support.ray_machines import started, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_machine_cut_off_while_it_loads_costs_its_items(tmp_path: Path) -> None:
    """Between its rows, of whole collections and of ranges: every row is there once, audited."""
    project = tmp_path / "project"
    write_project(project)
    for way in WAYS:
        (project / "notes" / way).mkdir(parents=True)
    with (
        machines(1 + len(WAYS)) as three,
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name,
    ):
        folder = Path(name)
        env = started(three, folder)
        log = folder / "driver.log"
        server = [sys.executable, "-m", "tests.support.milvus_server"]
        load = [sys.executable, "-m", "tests.support.cluster_load", str(project)]
        driver = three.start(0, [*server, *load, f"{three.address(0)}:6379"], env, log)
        for machine, way in enumerate(WAYS, 1):
            inserted_on(three.address(machine), project, way, log, driver)
            three.cut_off(machine)
        assert driver.wait(600) == 0, log.read_text()[-3000:]
        came = json.loads(log.read_text().splitlines()[-1])
    assert came == {way: {"findings": [], "wrong": []} for way in WAYS}
    for machine, way in enumerate(WAYS, 1):
        notes = notes_of(project, way)
        again = [nodes for what, nodes in notes.items() if what != "inserted" and len(nodes) > 1]
        assert 1 <= len(again) <= 2, (way, again)
        assert all(f"{three.address(machine)} " in nodes[0] for nodes in again), (way, again)


def inserted_on(
    address: str, project: Path, way: str, log: Path, driver: subprocess.Popen[bytes]
) -> None:
    """Waits until the machine has inserted rows."""

    def has_inserted() -> bool:
        if driver.poll() == 0 and "skipped:" in log.read_text():
            pytest.skip(log.read_text().splitlines()[-1])
        return any(f"{address} " in node for node in notes_of(project, way).get("inserted", []))

    wait_until(has_inserted, driver, log)
