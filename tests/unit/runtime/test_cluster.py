"""How a Ray is found or started; Ray itself is played."""

from __future__ import annotations

from typing import Any

import pytest

from mrag_pipeline.errors import WorkerLost
from mrag_pipeline.runtime import cluster


class PlayedRay:
    """Fails to start so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked: list[str] = []
        self.stopped = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **_: Any) -> None:
        self.asked.append(address)
        if len(self.asked) <= self.failures:
            raise RuntimeError("Timed out waiting for file gcs_server_port")

    def shutdown(self) -> None:
        self.stopped += 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> PlayedRay:
    ray = PlayedRay(request.param)
    monkeypatch.setattr(cluster, "ray", ray)
    return ray


@pytest.mark.parametrize("played", [0, 1], indirect=True)
def test_a_local_ray_gets_a_second_chance_to_start(played: PlayedRay) -> None:
    """What was left of the first is cleared away before."""
    assert cluster.connect("") is True
    assert played.asked == ["local"] * (1 + played.failures)
    assert played.stopped == played.failures


@pytest.mark.parametrize("played", [9], indirect=True)
def test_a_local_ray_that_does_not_start_is_told(played: PlayedRay) -> None:
    """After two tries, with a way out."""
    with pytest.raises(WorkerLost, match="a local Ray did not start") as caught:
        cluster.connect("")
    assert len(played.asked) == 2
    assert "'serial'" in caught.value.fix


@pytest.mark.parametrize("played", [9], indirect=True)
def test_a_cluster_that_does_not_answer_is_told(played: PlayedRay) -> None:
    """At once: whether it will is not ours to guess."""
    with pytest.raises(WorkerLost, match="no Ray cluster at 'ray://head:10001'"):
        cluster.connect("ray://head:10001")
    assert len(played.asked) == 1
