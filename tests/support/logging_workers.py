"""Workers on two raylets that log: `python -m tests.support.logging_workers` is their driver.

Its standard error is what its log takes; the last line of its standard output is JSON.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mrag_pipeline.config import Config
from mrag_pipeline.errors import BrokenFile
from mrag_pipeline.runtime.ray_pool import RayPool
from tests.support.cluster_ingest import node

FLOOD = 5_000  # lines of one item
QUIET = 12  # items that log a line each
SPEAKER = "mrag_pipeline.tests.speaker"


@dataclass(frozen=True, slots=True)
class Item:
    """Says how much is logged."""

    index: int
    num_lines: int = 1
    is_broken: bool = False
    num_bytes: int = 1


def open_speaker(_config: Config) -> Callable[[Item], str]:
    """The work."""
    return speak


def speak(item: Item) -> str:
    """Logs the item's lines; answers on which node."""
    log = logging.getLogger(SPEAKER)
    for number in range(item.num_lines):
        log.warning("said item=%d number=%d", item.index, number)
    log.info("nobody asked for this")
    if item.is_broken:
        raise BrokenFile(f"item {item.index} is broken", "a whole one", "mend it")
    time.sleep(0.3)  # until the other worker has an item too
    return node()


def on_two_nodes() -> dict[str, object]:
    """Items on both nodes, then an error, then a flood; where the items were done."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    workers = {"address": cluster.address, "count": 2, "device": "cpu", "late_factor": 0}
    pool = RayPool(Config.parse({"workers": workers}), open_speaker, unit="item")
    try:
        nodes = list(pool.run([Item(number) for number in range(QUIET)]))
        found = ""
        try:
            list(pool.run([Item(QUIET, is_broken=True)]))
        except BrokenFile as error:
            found = error.found
        list(pool.run([Item(QUIET + 1, FLOOD)]))
        return {"nodes": nodes, "error": found}
    finally:
        pool.close()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    print(json.dumps(on_two_nodes()), flush=True)
