"""`import mrag_pipeline` brings nothing along until a name of it is used."""

from __future__ import annotations

import subprocess
import sys


def test_the_package_imports_nothing_heavy() -> None:
    """Only itself: `Index` and `Encoder` are imported when first asked for."""
    code = (
        "import sys, mrag_pipeline; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "('mrag_pipeline', 'torch', 'ray', 'prefect', 'pymilvus', 'httpx', 'numpy')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['mrag_pipeline']"
