"""Hooks for a conftest.py whose tests may load no engine and no library that is slow to import.

A test that loads one of them fails by name, at import or while it runs. Where such a library is
already loaded (a session that runs other suites too), nothing can be seen: `make unit` runs these
tests alone.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Generator

import pytest

HEAVY = (
    *("torch", "transformers", "ray", "pymilvus", "milvus_lite", "grpc"),
    *("prefect", "matplotlib", "playwright"),
)
LOADED_BEFORE: pytest.StashKey[set[str]] = pytest.StashKey()


def heavy_libraries(modules: Collection[str]) -> set[str]:
    """Those of HEAVY that are among the names of loaded modules."""
    return {library for library in HEAVY if library in modules}


def complaint(nodeid: str, libraries: Collection[str]) -> str:
    """What a test or file that loads heavy libraries is told."""
    return (
        f"{nodeid} imports {', '.join(sorted(libraries))}: tests/unit stays free of engines and "
        "heavy libraries; move it to tests/components"
    )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fails a file whose import loads a heavy library."""
    before = heavy_libraries(sys.modules)
    report = yield
    if report.passed and (loaded := heavy_libraries(sys.modules) - before):
        report.outcome = "failed"
        report.longrepr = complaint(collector.nodeid, loaded)
        report.result = []
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Notes what is loaded before a test, its fixtures included."""
    item.stash[LOADED_BEFORE] = heavy_libraries(sys.modules)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that loads a heavy library, in its setup or in its body."""
    report = yield
    before = item.stash[LOADED_BEFORE]
    loaded = heavy_libraries(sys.modules) - before
    if report.passed and loaded:
        report.outcome = "failed"
        report.longrepr = complaint(item.nodeid, loaded)
    return report
