"""docs/architecture.md names every room, and no file that is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mrag_pipeline"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FENCED = re.compile(r"```.*?```", re.DOTALL)
PATH = re.compile(r"[\w./-]+(?:/|\.(?:py|toml|txt|yaml|md))")


def quoted(page: str) -> set[str]:
    """What stands between backticks, outside fenced blocks."""
    return set(re.findall(r"`([^`\n]+)`", FENCED.sub("", page)))


def paths_named(page: str) -> list[str]:
    """The quoted words that are paths: folders end in a slash, files in a known suffix."""
    return sorted(word for word in quoted(page) if PATH.fullmatch(word) and word != "/")


def is_there(path: str) -> bool:
    """Whether a path leads somewhere from the repository or the package."""
    return any((base / path).exists() for base in (ROOT, PACKAGE))


def rooms() -> list[str]:
    """Every folder of the package that holds code or pages, relative to it."""
    holding = {path.parent for path in PACKAGE.rglob("*") if path.suffix in (".py", ".js")}
    return sorted(f"{folder.relative_to(PACKAGE)}/" for folder in holding - {PACKAGE})


def files_to_name() -> list[str]:
    """The package's top-level modules, and every flow."""
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    flows = [f"flows/{path.name}" for path in (ROOT / "flows").glob("[!_]*.py")]
    return sorted(modules + flows)


def suites() -> list[str]:
    """The folders directly below tests/, with a slash at the end."""
    return sorted(f"tests/{path.parent.name}/" for path in ROOT.glob("tests/*/__init__.py"))


def held_layers() -> list[set[str]]:
    """The layers that test_layers.py holds, low to high; read from its source."""
    source = (ROOT / "tests" / "unit" / "test_layers.py").read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RANKS" and node.value:
            return [set(rank) for rank in ast.literal_eval(node.value)]
    raise AssertionError("tests/unit/test_layers.py has no RANKS")


@pytest.mark.parametrize("name", [*rooms(), *files_to_name(), *suites()])
def test_the_page_names_every_room(name: str) -> None:
    """A new folder, top-level module, flow or suite gets its line on the page."""
    assert name in quoted(PAGE), f"add `{name}` to docs/architecture.md"


@pytest.mark.parametrize("path", paths_named(PAGE))
def test_every_path_on_the_page_exists(path: str) -> None:
    """The ways of a document, a query and a change are told by files that are there."""
    assert is_there(path), f"docs/architecture.md names `{path}`, which does not exist"


def test_the_layers_on_the_page_are_those_that_are_held() -> None:
    """The page's table of layers has the order of test_layers.py."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)(?:\.py|/)` \|", PAGE, re.MULTILINE)
    shown: dict[str, set[str]] = {}
    for layer, room in rows:
        shown.setdefault(layer, set()).add(room)
    assert [shown[layer] for layer in sorted(shown, key=int)] == held_layers()


def test_a_missing_file_is_found() -> None:
    """Words that are no paths are passed over; a path that leads nowhere is not."""
    page = "`config.py` and `nowhere/at_all.py`, not `POST /v1/search`\n```\n`fenced/file.py`\n```"
    assert [path for path in paths_named(page) if not is_there(path)] == ["nowhere/at_all.py"]
