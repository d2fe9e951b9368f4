"""Actors on the GPUs that Ray assigns; the GPUs are only declared to Ray, no driver is used."""

from __future__ import annotations

import functools
import json
import multiprocessing
from pathlib import Path

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.runtime.cluster import disconnect_ray, start_local
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from tests.support.fake_workers import SLOW, a_plan, a_shard, open_seeing

pytestmark = pytest.mark.slow


def _run(folder: Path, workers: dict[str, float]) -> None:
    """Runs 16 shards on its own Ray, with one core and two GPUs."""
    import ray

    start_local(num_cpus=1, num_gpus=2)
    config = Config.parse({"workers": {"device": "cuda", "late_factor": 0, **workers}})
    pool = RayPool(config, embed_work(a_plan(), functools.partial(open_seeing, folder)))
    try:
        receipts = pool.run([a_shard(i, [SLOW]) for i in range(16)])
        done = [next(receipts) for _ in range(8)]
        free = ray.available_resources()
        done += receipts
    finally:
        pool.close()
        disconnect_ray()
    left = {"CPU": free.get("CPU", 0), "GPU": free.get("GPU", 0)}
    facts = {"free": left, "shards": sorted(r.shard for r in done)}
    (folder.parent / "facts.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("workers", "by_device"), [({}, {"0": 1, "1": 1}), ({"gpus_per_worker": 0.5}, {"0": 2, "1": 2})]
)
def test_each_actor_has_its_own_device(
    tmp_path: Path, workers: dict[str, float], by_device: dict[str, int]
) -> None:
    """One actor per GPU, or as many as share it; actors reserve no cores, so one core is enough."""
    folder = tmp_path / "shards"
    folder.mkdir()
    # A process of its own: this one may be connected to another Ray.
    child = multiprocessing.get_context("spawn").Process(target=_run, args=(folder, workers))
    child.start()
    child.join(280)
    assert child.exitcode == 0
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["shards"] == list(range(16))
    assert facts["free"] == {"CPU": 1, "GPU": 0}
    seen = [file.read_text() for file in folder.glob("devices.*")]
    assert {device: seen.count(device) for device in seen} == by_device
