"""`[workers]`: where shards are embedded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Amount, Count, PositiveAmount, PositiveCount


@dataclass(frozen=True, slots=True)
class WorkersSpec:
    """Where shards are embedded."""

    pool: Literal["ray", "serial"] = "ray"  # ray, or serial: in this process, for debugging
    address: str = ""  # of a Ray cluster ("auto", "ray://..."); empty: a local one
    count: Count = 0  # workers; 0: one per GPU, else one per CPU core
    threads: PositiveCount = 1  # of each CPU worker
    gpus_per_worker: PositiveAmount = 1.0  # where there are GPUs
    device: Literal["auto", "cpu", "cuda"] = "auto"
    in_flight: PositiveCount = 2  # shards given to a worker ahead of time
    attempts: PositiveCount = 3  # a shard is given up after so many lost workers
    late_factor: Amount = 3.0  # times the median: then an idle worker gets the shard too; 0: never
    batch_tokens: PositiveCount = 16_384  # tokens in one forward pass
