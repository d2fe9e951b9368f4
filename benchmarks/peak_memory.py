"""How much memory this process has had at most."""

from __future__ import annotations

import re
from pathlib import Path


def peak_mb() -> float:
    """The highest resident memory; `ru_maxrss` would count the parent's at the fork."""
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1_024 / 1e6
