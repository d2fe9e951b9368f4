"""Imports pymilvus without pandas and scipy, which it imports for data that no command has.

pymilvus asks of what it is given whether it is a DataFrame or a scipy matrix, and imports both
libraries to ask. In a process that has not imported them, nothing is. Should the process import
one later, pymilvus knows its objects as before. A user's program gets the plain import: another of
its threads may import pandas meanwhile.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mrag_pipeline.quick_imports import is_own_process, quick_imports

_TYPES = "pandas.api.types"
# What pandas says of these is known: pymilvus asks it of each field's default.
_PLAIN = (bool, float, int, str)
_OF_PLAIN: dict[str, Callable[[object], bool]] = {
    "is_scalar": lambda _: True,
    "is_float": lambda value: isinstance(value, float),
}


def import_pymilvus() -> None:
    """Imports pymilvus, if the process has not done so."""
    if "pymilvus" in sys.modules:
        return
    with quick_imports():
        is_plain = "pandas" in sys.modules or not is_own_process()
        if is_plain or not _is_imported_without_pandas():
            importlib.import_module("pymilvus")
        _spare_scipy()


class _FrameMeta(type):
    def __instancecheck__(cls, value: object) -> bool:
        frame = getattr(sys.modules.get("pandas"), "DataFrame", None)
        return frame is not None and isinstance(value, frame)


class _DataFrame(metaclass=_FrameMeta):
    """Stands for pandas.DataFrame in annotations and `isinstance`."""


class _StandIn(ModuleType):
    """Everything else is pandas's own, imported when it is first used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self or name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


class _Types(_StandIn):
    """`from pandas.api.types import ...` takes functions out at once: they are called later."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*values: Any) -> Any:
            if type(values[0]) in _PLAIN and name in _OF_PLAIN:
                return _OF_PLAIN[name](values[0])
            return getattr(importlib.import_module(_TYPES), name)(*values)

        return call


def _is_imported_without_pandas() -> bool:
    """Whether pymilvus was imported; False if this release of it wants more of pandas."""
    stand_ins: dict[str, ModuleType] = {
        "pandas": _StandIn("pandas"),
        "pandas.api": ModuleType("pandas.api"),
        _TYPES: _Types(_TYPES),
    }
    stand_ins["pandas"].__dict__["DataFrame"] = _DataFrame
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("pymilvus")
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "pymilvus"]:
            del sys.modules[name]
        return False
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return True


def _spare_scipy() -> None:
    """Lets pymilvus look for scipy's matrices only where scipy has been imported."""
    try:
        from pymilvus.client.utils import SciPyHelper

        looks_for_scipy = SciPyHelper._init
    except (ImportError, AttributeError):  # another release: it takes longer, and works
        return

    def look() -> None:
        if "scipy.sparse" in sys.modules:
            looks_for_scipy()

    SciPyHelper._init = look
