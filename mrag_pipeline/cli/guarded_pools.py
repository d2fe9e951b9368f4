"""Pools of workers for commands that are no flow; a killed command leaves none running."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mrag_pipeline.cli import orphans

if TYPE_CHECKING:
    from mrag_pipeline.config import Config
    from mrag_pipeline.ports import HasCapabilities, OpenPool, VersionBuilds, Work


def guarded_pools(
    config: Config, open_work: Callable[[Config], Work], index: HasCapabilities
) -> OpenPool:
    """Opens the pool of a phase: workers where other processes may open the index too."""
    from mrag_pipeline.runtime.pools import phase_pools

    is_shared = index.capabilities().is_shared
    if is_shared:
        orphans.guard()
    return phase_pools(config, open_work, is_shared)


def guarded_load_pools(
    config: Config, open_work: Callable[[Config], Work], index: VersionBuilds
) -> OpenPool:
    """Opens the pool that loads collections."""
    from mrag_pipeline.runtime.pools import load_pools

    if index.capabilities().is_shared:
        orphans.guard()
    return load_pools(config, open_work, index)


def from_anywhere(folder: str) -> str:
    """The folder, as a process with another working folder names it."""
    return folder if "://" in folder else os.path.abspath(folder)
