"""Runs Python code as in an environment that lacks some libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.support.project_folder import environment

_BLOCK = "import sys\nsys.modules.update(dict.fromkeys({names!r}))\n"


def run_without(
    libraries: Iterable[str], code: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The code's run in a Python that finds none of these libraries.

    Args:
        libraries: names to import by; of a library that is None in `sys.modules`, Python says
            that there is no such module.
    """
    return subprocess.run(
        [sys.executable, "-c", _BLOCK.format(names=sorted(libraries)) + code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=280,
    )
