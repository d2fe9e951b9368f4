"""The libraries that decide what is read of a file, and their versions here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    *("chardetng_py", "docutils", "markdown-it-py", "openpyxl", "pyarrow", "pypdf"),
    *("python-docx", "python-pptx", "pyyaml", "selectolax", "webencodings"),
)


def versions() -> dict[str, str]:
    """Of Python and each library; "" for one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
