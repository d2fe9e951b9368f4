"""Imports large libraries in two thirds of the time; every command, worker and server waits for it.

Measured in docs/decisions/0062-imports-without-scipy-and-garbage.md.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()  # what is changed below affects the whole process
# jsonschema, which Prefect imports, checks the format `iri` with this one where it happens to be
# installed, as Jupyter does. Its grammar takes 3 s to build. Nothing here has that format.
_HIDDEN = "rfc3987_syntax"
_is_own = False


def own_process() -> None:
    """Says that this process is one of our commands, not a user's program.

    Then what is imported is frozen: the garbage collector need not look through it again. In a
    user's program that would keep the program's own garbage for ever.
    """
    global _is_own
    _is_own = True


def is_own_process() -> bool:
    """Whether `own_process` was called."""
    return _is_own


@contextmanager
def quick_imports() -> Iterator[None]:
    """Within it, imports run without garbage collection and without what nothing here uses."""
    with _LOCK:
        was_enabled, is_hidden = gc.isenabled(), _HIDDEN not in sys.modules
        gc.disable()
        if is_hidden:
            sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # an import of it fails
        try:
            yield
        finally:
            if is_hidden:
                del sys.modules[_HIDDEN]
            if was_enabled:
                if _is_own:
                    gc.freeze()
                gc.enable()
