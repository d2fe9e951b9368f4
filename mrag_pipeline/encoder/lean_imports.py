"""Imports torch and transformers in two thirds of the time; every worker and replica waits for it.

Measured in docs/decisions/0062-imports-without-scipy-and-garbage.md.
"""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.RLock()  # the changes below affect the whole process


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within it, imports run without garbage collection, and transformers does not import scipy.

    transformers imports scipy, if it is installed, for the losses of object detectors, which
    nothing here trains. A process that trains them must import transformers before.
    """
    with _LOCK:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            utils: Any = importlib.import_module("transformers.utils")
            original, utils.is_scipy_available = utils.is_scipy_available, lambda: False
            try:
                yield
            finally:
                utils.is_scipy_available = original
        finally:
            if was_enabled:
                gc.enable()
