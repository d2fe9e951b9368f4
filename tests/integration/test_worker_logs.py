"""What workers log on other nodes is in the log of the run's process."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import BrokenFile
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.runtime.worker_lines import AT_ONCE
from tests.support.logging_workers import FLOOD, QUIET, SPEAKER, Item, open_speaker
from tests.support.ray_head import ended_with
from tests.support.ray_machines import HEALTH

LINE = re.compile(r"node=(\S+) worker=(\d+) said item=(\d+) number=\d+")


def test_workers_lines_are_logged_once(local_ray: None, caplog: pytest.LogCaptureFixture) -> None:
    """Before the error that ends the run, too; at the level that this process's log takes."""
    config = Config.parse({"workers": {"count": 2, "device": "cpu"}})
    pool = RayPool(config, open_speaker, unit="item")
    try:
        list(pool.run([Item(number) for number in range(4)]))
        with pytest.raises(BrokenFile):
            list(pool.run([Item(4, is_broken=True)]))
    finally:
        pool.close()
    said = [record for record in caplog.records if record.name == SPEAKER]
    items = [LINE.fullmatch(record.getMessage()) for record in said]
    assert sorted(found[3] for found in items if found) == [str(number) for number in range(5)]
    assert {record.levelno for record in said} == {logging.WARNING}
    assert os.getpid() not in {int(found[2]) for found in items if found}


def test_a_flood_of_a_worker_is_cut_short(
    local_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    """What was left out is counted; the run goes on."""
    config = Config.parse({"workers": {"count": 1, "device": "cpu"}})
    pool = RayPool(config, open_speaker, unit="item")
    try:
        list(pool.run([Item(0, FLOOD)]))
    finally:
        pool.close()
    said = [record for record in caplog.records if record.name == SPEAKER]
    assert AT_ONCE <= len(said) <= AT_ONCE + 60
    [left_out] = [m for m in caplog.messages if m.startswith("worker_lines_left_out")]
    assert left_out.endswith(f" lines={FLOOD - len(said)}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_nodes_log_in_one_place() -> None:
    """Each line of either once, with node and worker; a flood of one is cut short."""
    with ended_with("MRAG_TEST_LOGS") as mark:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.logging_workers"],
            env=os.environ | HEALTH | mark,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    came = json.loads(ended.stdout.splitlines()[-1])
    assert len(set(came["nodes"])) == 2
    assert came["error"] == f"item {QUIET} is broken"
    found = [LINE.search(line) for line in ended.stderr.splitlines() if SPEAKER in line]
    times = Counter(int(one[3]) for one in found if one)
    flood = times.pop(QUIET + 1)
    assert times == dict.fromkeys(range(QUIET + 1), 1)
    assert AT_ONCE - QUIET <= flood <= AT_ONCE + 60
    assert f"lines={FLOOD - flood}" in ended.stderr
    assert len({one[1] for one in found if one}) == 2
    assert len({one[2] for one in found if one}) == 2
    assert "nobody asked" not in ended.stderr
