"""How much batching raises the throughput of one encoder replica; a part of serve.py.

Sixteen callers ask the product's own replica, one question at a time and in batches. They run in
the replica's process, so the figures exclude routing. On a busy core a batch saves only the fixed
cost of a forward pass: short questions gain most, and a GPU would gain more.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from callers import print_target
from served import BenchIndex, Questions

from mrag_pipeline.query.question import Query

BATCHING_AT_LEAST = 3.0
BATCHING_CALLERS = 16


def show_batching(bench: BenchIndex, questions: Questions, seconds: float) -> None:
    """Prints the ratios beside the target."""
    from mrag_pipeline.serving.ray import launcher

    keywords = list(dict.fromkeys(" ".join(query.split()[:3]) for query in questions.short))
    kinds = {"3 words": keywords, "8 to 13 words": list(questions.short)}
    os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"  # this process runs no event loop
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    with launcher.environment():
        from ray import serve

        from mrag_pipeline.runtime import cluster
        from mrag_pipeline.serving.ray.deployments import EncoderReplica

        class Measured(EncoderReplica):
            """A replica that measures its own throughput."""

            async def rate(self, queries: list[str], max_batch: int, seconds: float) -> float:
                self.reconfigure({"max_batch": max_batch})
                return await embedded_a_second(self.embed, queries, seconds)

        cluster.start_local(num_cpus=4)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        try:
            part = serve.deployment(Measured).options(max_ongoing_requests=64)
            app = part.bind(bench.config().to_dict())
            handle = serve.run(app, name="encoder", route_prefix=None)
            rates_by_kind = {
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
    for kind, pairs in rates_by_kind.items():
        alone, together = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratios = [batched / single for single, batched in pairs]
        times = statistics.median(ratios)
        print_target(
            f"batching questions of {kind}",
            f"{alone:.0f} QPS one by one, {together:.0f} in batches, "
            f"{times:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]",
            f"at least {BATCHING_AT_LEAST}x",
            times >= BATCHING_AT_LEAST,
        )


async def embedded_a_second(embed: Any, queries: Sequence[str], seconds: float) -> float:
    """Answers per second to callers who ask again as soon as they are answered."""
    count = 0
    opens = time.monotonic() + 0.2 * seconds
    ends = opens + seconds

    async def caller(number: int) -> None:
        nonlocal count
        while time.monotonic() < ends:
            await embed((Query(queries[number % len(queries)], "mrag"),))
            count += opens < time.monotonic() <= ends
            number += BATCHING_CALLERS

    await asyncio.gather(*(caller(first) for first in range(BATCHING_CALLERS)))
    return count / seconds
