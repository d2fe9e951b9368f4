"""Unit tests load no engine and no slow library; see tests/support/import_guard.py."""

from __future__ import annotations

from tests.support.import_guard import (
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
)

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport", "pytest_runtest_protocol"]
