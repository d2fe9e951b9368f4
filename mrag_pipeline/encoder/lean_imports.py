"""Imports torch and transformers without what transformers imports for nothing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mrag_pipeline.quick_imports import quick_imports


@contextmanager
def lean_imports() -> Iterator[None]:
    """Quick imports, within which transformers does not import scipy.

    transformers imports scipy, if it is installed, for the losses of object detectors, which
    nothing here trains. A process that trains them must import transformers before.
    """
    with quick_imports():
        utils: Any = importlib.import_module("transformers.utils")
        original, utils.is_scipy_available = utils.is_scipy_available, lambda: False
        try:
            yield
        finally:
            utils.is_scipy_available = original
