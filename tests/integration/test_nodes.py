"""Nodes lost, cut off or slow during a run: the index is the same, and no shard counts twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import cluster_phases
from tests.support.cluster_ingest import SHARDS, Came, undisturbed, write_project
from tests.support.cluster_phases import PHASES
from tests.support.network_namespaces import Machines, machines
from tests.support.ray_head import ended_with
from tests.support.ray_machines import HEALTH, started, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Came:
    """The result of one undisturbed process."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "project")
    return tmp_path / "project"


def only_their_shards_were_done_again(came: dict[str, Any], lost: list[str]) -> None:
    """Each shard counts once; only shards of a lost node were started again."""
    assert (came["shards"], came["reused"]) == (SHARDS, 0)
    tries = came["tries"]
    assert sorted(tries) == [f"{i:05d}" for i in range(SHARDS)]
    again = {shard: nodes for shard, nodes in tries.items() if len(nodes) > 1}
    for shard, nodes in again.items():
        for node in nodes[:-1]:
            assert any(name in node for name in lost), (shard, nodes, lost)
    # An actor embeds one shard at a time; its queued shard had not been started.
    assert 1 <= len(again) <= len(lost)


def test_a_simulated_node_that_is_removed_costs_its_shards_only(
    project: Path, whole: Came, tmp_path: Path
) -> None:
    """Three nodes simulated by Ray, one removed at the eighth receipt."""
    with ended_with("MRAG_TEST_NODES") as mark:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.cluster_ingest", str(project), "simulated"],
            env=os.environ | HEALTH | mark,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    *_, lost, last = ended.stdout.splitlines()
    came = json.loads(last)
    assert came["content"] == whole.content
    nodes = {node for nodes in came["tries"].values() for node in nodes}
    assert len(nodes) == 3, "the actors were not spread over the nodes"
    only_their_shards_were_done_again(came, [lost.removeprefix("lost ")])


@pytest.fixture
def three() -> Iterator[Machines]:
    with machines(3) as made:
        yield made


def test_of_three_machines_one_killed_and_one_cut_off(
    three: Machines, project: Path, whole: Came
) -> None:
    """Three networks: one machine loses power, then another loses its network.

    The machine that is cut off still reaches staging and may keep writing there.
    """
    # A short path, because the names of Ray's sockets are long.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        env = started(three, folder)
        log = folder / "driver.log"
        address = f"{three.address(0)}:6379"
        driver = three.start(
            0,
            [sys.executable, "-m", "tests.support.cluster_ingest", str(project), address],
            env,
            log,
        )
        receipts(log, 6, driver)
        three.kill(1)
        receipts(log, 12, driver)
        three.cut_off(2)
        assert driver.wait(600) == 0, log.read_text()[-3000:]
        came = json.loads(log.read_text().splitlines()[-1])
    assert came["content"] == whole.content
    only_their_shards_were_done_again(came, [f"{three.address(i)} " for i in (1, 2)])


def test_a_machine_cut_off_in_each_phase_costs_its_items(project: Path) -> None:
    """Reconcile, verify, audit and a sync's comparison: each loses another machine.

    A machine that is cut off still reaches staging; what it was doing is done again elsewhere.
    """
    expected = cluster_phases.undisturbed(project)
    with (
        machines(1 + len(PHASES)) as five,
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name,
    ):
        folder = Path(name)
        env = started(five, folder)
        log = folder / "driver.log"
        address = f"{five.address(0)}:6379"
        command = [sys.executable, "-m", "tests.support.cluster_phases", str(project), address]
        driver = five.start(0, command, env, log)
        for machine, phase in enumerate(PHASES, 1):
            begun_on(project, phase, five.address(machine), log, driver)
            five.cut_off(machine)
        assert driver.wait(600) == 0, log.read_text()[-3000:]
        came = json.loads(log.read_text().splitlines()[-1])
    assert came == expected
    for machine, phase in enumerate(PHASES, 1):
        begun = cluster_phases.begun(project, phase).values()
        again = [nodes for nodes in begun if len(nodes) > 1]
        assert 1 <= len(again) <= 2, (phase, again)
        assert all(f"{five.address(machine)} " in nodes[0] for nodes in again), (phase, again)


def begun_on(
    project: Path, phase: str, address: str, log: Path, driver: subprocess.Popen[bytes]
) -> None:
    """Waits until the machine has begun an item of the phase."""

    def has_begun() -> bool:
        return any(f"{address} " in node for node in cluster_phases.nodes_of(project, phase))

    wait_until(has_begun, driver, log)


def receipts(log: Path, number: int, driver: subprocess.Popen[bytes]) -> None:
    """Waits until the driver has so many receipts."""
    wait_until(lambda: f"receipt {number}\n" in log.read_text(), driver, log)
