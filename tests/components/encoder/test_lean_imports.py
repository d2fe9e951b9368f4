from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
from mrag_pipeline.encoder.lean_imports import lean_imports
with lean_imports(), lean_imports():
    assert not gc.isenabled()
    import mrag_pipeline.encoder.transformer
import importlib.util
from transformers import utils
print(gc.isenabled(), "scipy" in sys.modules)
assert utils.is_scipy_available() == (importlib.util.find_spec("scipy") is not None)
"""


def test_the_encoder_is_imported_without_scipy_and_settings_are_restored() -> None:
    """In a process of its own, since this one has already imported it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False"]
