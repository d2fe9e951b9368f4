"""A Ray whose nodes have networks of their own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.network_namespaces import Machines
from tests.support.ray_head import RAY, ROOT, a_token

# A lost node is noticed within seconds; Ray's defaults are for busier networks.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


def started(three: Machines, folder: Path) -> dict[str, str]:
    """Starts a Ray with one CPU on each machine, the head on the first; returns the environment."""
    env = os.environ | HEALTH | a_token()
    each = [
        *(RAY, "start", "--block", "--num-cpus=1", "--disable-usage-stats"),
        "--object-store-memory=100000000",
    ]
    head = ["--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}/ray"]
    for i in range(len(three.names)):
        where = head if i == 0 else [f"--address={three.address(0)}:6379"]
        command = [*each, *where, f"--node-ip-address={three.address(i)}"]
        for _ in range(4):
            log = folder / f"ray{i}.log"
            node = three.start(i, command, env, log)
            while node.poll() is None and "Ray runtime started" not in log.read_text():
                time.sleep(0.1)
            if node.poll() is None:
                break
            # On a busy machine a part of Ray starts too slowly (its limit of 30 s is fixed).
            assert "timed out" in log.read_text(), log.read_text()[-3000:]
            three.kill(i)
        else:
            pytest.fail(log.read_text()[-3000:])
    return env


def wait_until(is_so: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until something is so while the driver runs; its log is shown where it ends before."""
    until = time.monotonic() + 300
    while not is_so():
        assert driver.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.02)
