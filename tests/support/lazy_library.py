"""A library that is imported when one of its names is first used.

Each process that shares the tests (`pytest -n`) imports every test file, and runs some of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyLibrary:
    """Stands for a module; its attributes are the module's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest asks for `_mock_name` and the like when it collects
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)
