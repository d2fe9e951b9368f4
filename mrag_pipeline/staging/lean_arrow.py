"""pyarrow without pandas, which it imports to ask whether a list is one of pandas's arrays."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pyarrow as pa


def spare_pandas() -> None:
    """From now on, pyarrow does not ask; for a process that never holds data of pandas.

    Where one calls `to_pandas` or `from_pandas` after all, pyarrow imports pandas then.
    """
    if "pandas" in sys.modules:
        return
    # None in sys.modules would be taken for pandas by compiled code.
    missing: Any = SimpleNamespace(find_spec=_missing)
    sys.meta_path.insert(0, missing)
    try:
        pa.array([0])  # asks once, and remembers the answer
    finally:
        sys.meta_path.remove(missing)


def _missing(name: str, *_: object) -> None:
    if name == "pandas":
        raise ModuleNotFoundError(f"no module named {name!r} for this once", name=name)
