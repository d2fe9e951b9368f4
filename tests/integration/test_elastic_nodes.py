"""Nodes join and leave while a phase runs, and phases without a GPU leave nodes with GPUs alone.

Real raylets on this machine; their GPUs are only declared to Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.ray_head import ended_with
from tests.support.ray_machines import HEALTH

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def played(scene: str) -> Any:
    """What came of a scene of `tests.support.elastic_nodes`."""
    with ended_with("MRAG_TEST_ELASTIC") as mark:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.elastic_nodes", scene],
            env=os.environ | HEALTH | mark,
            capture_output=True,
            text=True,
            timeout=540,
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_node_that_joins_works_and_when_it_is_lost_none_is_asked_for() -> None:
    """With `count = 0`. The scene ends when only the head's worker is left and goes on."""
    came = played("joining")
    assert came["done"]["joined"] >= 8
    assert came["planned"] == 1


def test_phases_without_a_gpu_are_not_on_nodes_with_gpus() -> None:
    """Nor if more workers are asked for than fit; the GPUs are free meanwhile."""
    came = played("gpus")
    for fit in ("as many as fit", "more than fit"):
        with_gpu, without = came[f"with a GPU, {fit}"], came[f"without, {fit}"]
        assert with_gpu == {"nodes": ["gpu"], "free GPUs": 0.0}
        assert without == {"nodes": ["head", "plain"], "free GPUs": 2.0}
    assert came["with a GPU, numbers of their own"] == {"nodes": ["gpu"], "free GPUs": 1.0}
    assert came["without, numbers of their own"] == {"nodes": ["head", "plain"], "free GPUs": 2.0}


def test_a_cluster_of_nodes_with_gpus_alone_does_every_phase() -> None:
    """Sparing them is a wish."""
    assert played("only GPUs") == {"nodes": ["gpu"], "free GPUs": 2.0}
