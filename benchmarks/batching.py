"""What the encoder's replica gives 16 callers, one by one and in batches: a part of serve.py.

The very same replica, with its own batching; the callers are in its process, so that routing
to it is not in the figures. A batch saves the fixed cost of a forward pass, and nothing else
on a core that computes all the time: short questions gain most, and a GPU would gain more.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from callers import told
from served import Place, Questions

from mrag_pipeline.query.question import Query

BATCHING_AT_LEAST = 3.0
BATCHING_CALLERS = 16


def show_batching(place: Place, asked: Questions, seconds: float) -> None:
    """Prints the ratios beside the target."""
    from mrag_pipeline.serving.ray import launcher

    keywords = list(dict.fromkeys(" ".join(query.split()[:3]) for query in asked.short))
    kinds = {"3 words": keywords, "8 to 13 words": list(asked.short)}
    os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"  # there is no loop here
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    with launcher.environment():
        from ray import serve

        from mrag_pipeline.runtime import cluster
        from mrag_pipeline.serving.ray.deployments import EncoderReplica

        class Measured(EncoderReplica):
            """A replica with callers of its own."""

            async def rate(self, queries: list[str], max_batch: int, seconds: float) -> float:
                self.reconfigure({"max_batch": max_batch})
                return await embedded_a_second(self.embed, queries, seconds)

        cluster.start_local(num_cpus=4)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        try:
            part = serve.deployment(Measured).options(max_ongoing_requests=64)
            app = part.bind(place.config().to_dict())
            handle = serve.run(app, name="encoder", route_prefix=None)
            found = {
                kind: [
                    [
                        handle.rate.remote(queries, max_batch, seconds / 2).result()
                        for max_batch in (1, BATCHING_CALLERS)
                    ]
                    for _ in range(5)
                ]
                for kind, queries in kinds.items()
            }
        finally:
            serve.shutdown()
            cluster.disconnect_ray()
    print(f"\nOne encoder replica, {BATCHING_CALLERS} callers:")
    for kind, pairs in found.items():
        alone, together = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratios = [batched / single for single, batched in pairs]
        times = statistics.median(ratios)
        told(
            f"batching questions of {kind}",
            f"{alone:.0f} QPS one by one, {together:.0f} in batches, "
            f"{times:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]",
            f"at least {BATCHING_AT_LEAST}x",
            times >= BATCHING_AT_LEAST,
        )


async def embedded_a_second(embed: Any, queries: Sequence[str], seconds: float) -> float:
    """Answers a second to callers who ask again as soon as they are answered."""
    count = 0
    opens = time.monotonic() + 0.2 * seconds
    ends = opens + seconds

    async def caller(at: int) -> None:
        nonlocal count
        while time.monotonic() < ends:
            await embed((Query(queries[at % len(queries)], "mrag"),))
            count += opens < time.monotonic() <= ends
            at += BATCHING_CALLERS

    await asyncio.gather(*(caller(first) for first in range(BATCHING_CALLERS)))
    return count / seconds
