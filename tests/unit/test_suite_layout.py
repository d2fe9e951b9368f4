"""How the suites stand to each other: read from their imports, and the guard of the unit tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.import_guard import HEAVY
from tests.support.lazy_library import LazyLibrary
from tests.support.source_imports import imports_of

ROOT = Path(__file__).parents[2]


def sources() -> dict[str, str]:
    """Every module of the tests and of the package by name; packages under their own name."""
    flows = (ROOT / "mrag_pipeline" / "flows" / path.name for path in ROOT.glob("flows/*.py"))
    paths = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("mrag_pipeline/**/*.py"), *flows]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
            path.read_text("utf-8")
        )
        for path in paths
    }


SOURCES = sources()


def is_test_file(module: str) -> bool:
    """Whether pytest collects a module, or loads it as a conftest."""
    name = module.rpartition(".")[2]
    return name.startswith("test_") or name == "conftest"


def modules_of(name: str, known: Collection[str]) -> Iterator[str]:
    """The known modules that run when a dotted name is imported: its packages, then itself."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        if module in known:
            yield module


def imports_at_load(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """What each module imports while it is loaded: not for types, not in functions."""
    return {
        module: [
            imported.name
            for imported in imports_of(source, module.rpartition(".")[0])
            if not (imported.lazy or imported.typing_only)
        ]
        for module, source in sources.items()
    }


def heavy_imports(start: str, imports: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The heavy libraries that importing a module loads, each with the module that names it."""
    heavy: dict[str, str] = {}
    waiting, seen = [start], {start}
    while waiting:
        module = waiting.pop()
        for name in imports[module]:
            if (library := name.partition(".")[0]) in HEAVY:
                heavy.setdefault(library, module)
            for other in modules_of(name, imports):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
    return heavy


IMPORTS = imports_at_load(SOURCES)


def test_no_test_file_imports_another() -> None:
    """What several test files share stands in tests/support."""
    assert [
        f"{module} imports {imported.name}"
        for module, source in SOURCES.items()
        if module.startswith("tests.")
        for imported in imports_of(source, module.rpartition(".")[0])
        if imported.name.startswith("tests.")
        and any(is_test_file(other) for other in modules_of(imported.name, SOURCES))
    ] == []


@pytest.mark.parametrize(
    "module", sorted(name for name in SOURCES if f"{name}.".startswith("tests.unit."))
)
def test_a_unit_test_file_imports_no_heavy_library(module: str) -> None:
    """Through any number of modules of the tests and of the package."""
    assert heavy_imports(module, IMPORTS) == {}


def test_the_conftest_of_all_suites_imports_no_heavy_library() -> None:
    """It is loaded by `make unit` too."""
    assert heavy_imports("tests.conftest", IMPORTS) == {}


def test_a_heavy_import_behind_other_modules_is_found() -> None:
    """Packages run before their modules; what a function imports later does not count."""
    sources = {
        "a": "from b.c import f",
        "b": "import torch.nn",
        "b.c": "import d",
        "d": "def f():\n    import ray\nif TYPE_CHECKING:\n    import pymilvus",
    }
    assert heavy_imports("a", imports_at_load(sources)) == {"torch": "b"}


def test_a_lazy_library_is_imported_by_who_uses_it() -> None:
    """Not by pytest, which looks for marks and fixtures in every module that it collects."""
    library = LazyLibrary("no_such_library")
    assert not hasattr(library, "_mock_name")
    assert not hasattr(library, "__wrapped__")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        _ = library.name


@pytest.mark.parametrize(
    ("test", "outcome"),
    [
        ("import torch\ndef test_it(): pass", "1 error"),
        ("def test_it():\n    import torch", "1 failed"),
        ("import pytest\n@pytest.fixture\ndef it():\n    import torch\ndef test_it(it): pass", ""),
        ("def test_it(): pass", "1 passed"),
    ],
    ids=["file", "test", "fixture", "none"],
)
def test_the_guard_fails_a_test_that_loads_a_heavy_library(
    tmp_path: Path, test: str, outcome: str
) -> None:
    """By the test's name, whether its file, its body or a fixture loads it."""
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text((ROOT / "tests/unit/conftest.py").read_text("utf-8"))
    (tmp_path / "test_it.py").write_text(test)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert outcome in run.stdout
    assert (run.returncode == 0) == (outcome == "1 passed")
    assert ("imports torch: tests/unit" in run.stdout) == (run.returncode != 0)
