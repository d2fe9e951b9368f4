"""What the pools of this process have held so far, cores and GPUs, and what each node has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

DRIVER = "driver"  # in place of a node: the run's own process


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What the workers of one node have done; a node is "address/start of its id", or DRIVER."""

    items: int = 0  # answered, or failed at
    busy_s: float = 0.0  # with these items, all workers of the node added up
    lost_workers: int = 0
    workers: int = 0  # that came up
    num_bytes: int = 0  # that answered items were planned to read
    errors: int = 0  # tries of items that ended by an error, or by the loss of their worker
    num_rows: int = 0  # that answers tell
    retries: int = 0  # of the errors, those after which the item was tried again, on any node

    def plus(self, other: NodeUsage, times: int = 1) -> NodeUsage:
        """The other's added; with -1 taken away."""
        return NodeUsage(
            self.items + times * other.items,
            self.busy_s + times * other.busy_s,
            self.lost_workers + times * other.lost_workers,
            self.workers + times * other.workers,
            self.num_bytes + times * other.num_bytes,
            self.errors + times * other.errors,
            self.num_rows + times * other.num_rows,
            self.retries + times * other.retries,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums since the process started."""

    core_s: float = 0.0  # cores times seconds
    gpu_s: float = 0.0
    # Every node that a worker was up on, whatever it did: what Prometheus counts starts from 0.
    nodes: Mapping[str, NodeUsage] = field(default_factory=dict)

    @property
    def retries(self) -> int:
        """Of items, on all nodes."""
        return sum(of_node.retries for of_node in self.nodes.values())

    def plus(self, other: Usage, times: int = 1) -> Usage:
        """The other's added; with -1 taken away."""
        nodes = dict(self.nodes)
        for node, of_node in other.nodes.items():
            nodes[node] = nodes.get(node, NodeUsage()).plus(of_node, times)
        return Usage(
            self.core_s + times * other.core_s,
            self.gpu_s + times * other.gpu_s,
            nodes,
        )

    def since(self, before: Usage) -> Usage:
        """What was added since then."""
        return self.plus(before, -1)


_lock = Lock()
_total = Usage()


def total() -> Usage:
    """The sums now; a worker's hours are added when it ends."""
    return _total


def add(
    core_s: float = 0.0,
    gpu_s: float = 0.0,
    nodes: Mapping[str, NodeUsage] | None = None,
) -> None:
    """Adds to the sums; from any thread."""
    global _total
    with _lock:
        _total = _total.plus(Usage(core_s, gpu_s, nodes or {}))
