"""`[workers]`: where shards are embedded, and where the items of other phases are done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mrag_pipeline.settings.bounds import Amount, Count, PositiveAmount, PositiveCount


@dataclass(frozen=True, slots=True)
class WorkersSpec:
    """Where shards are embedded, and where the items of other phases are done."""

    # ray, serial (in this process), or auto: serial up to serial_mb without an address, else ray
    pool: Literal["auto", "ray", "serial"] = "auto"
    serial_mb: Amount = 0.3  # of source, in all shards of the plan
    phase_mb: Amount = 1_000  # that another phase reads or changes; up to so many, it stays here
    address: str = ""  # of a Ray cluster ("auto", "ray://..."); empty: starts a local one
    # 0: one per GPU, else one per CPU core, of the nodes that are there, also when they change. A
    # number is asked for whatever there is room for: an autoscaler adds nodes for it.
    count: Count = 0
    phase_workers: Count | None = None  # the same, of a phase that embeds nothing; None: count
    threads: PositiveCount = 1  # of each worker on a CPU
    gpus_per_worker: PositiveAmount = 1.0  # if there are GPUs
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of the workers
    # Workers without a GPU start on nodes that have none, if there are such nodes.
    spare_gpu_nodes: bool = True
    start_timeout_s: PositiveAmount = 300.0  # for the first worker; an autoscaler takes minutes
    in_flight: PositiveCount = 2  # shards assigned to a worker at a time
    attempts: PositiveCount = 3  # tries of a shard before the run fails
    late_factor: Amount = 3.0  # times the median: then an idle worker gets the shard too; 0: never
    batch_tokens: PositiveCount = 16_384  # in one forward pass

    @property
    def of_other_phases(self) -> WorkersSpec:
        """The workers of a phase that embeds nothing: without a GPU."""
        count = self.count if self.phase_workers is None else self.phase_workers
        return replace(self, device="cpu", count=count)

    @property
    def driver_device(self) -> str:
        """Where the process that runs the command has its own copy of the model.

        `device`, except on a cluster: its GPUs are the workers', and a driver takes what it finds.
        With `pool = "serial"` this process embeds, whatever the address.
        """
        has_workers = self.address and self.pool != "serial"
        return "auto" if has_workers and self.device == "cuda" else self.device
