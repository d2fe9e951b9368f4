"""torch and transformers imported in two thirds of the time: every worker and replica waits for it.

Measured in docs/decisions/0062-imports-without-scipy-and-garbage.md.
"""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.RLock()  # what is changed meanwhile is the whole process's


@contextmanager
def lean_imports() -> Iterator[None]:
    """What is imported within stays for good: no garbage is looked for, and scipy is left out.

    transformers has scipy imported, where it is installed, for the losses of object detectors,
    which nothing here trains. A process that does has to import transformers before.
    """
    with _LOCK:
        collects = gc.isenabled()
        gc.disable()
        try:
            utils: Any = importlib.import_module("transformers.utils")
            has_scipy, utils.is_scipy_available = utils.is_scipy_available, lambda: False
            try:
                yield
            finally:
                utils.is_scipy_available = has_scipy
        finally:
            if collects:
                gc.enable()
