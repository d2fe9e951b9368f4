"""The table of docs/integrations.md: every extra, the versions tested, the lines that are ours.

python -m tests.support.extras_table
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "integrations.md"
HEAD = "| extra | what it is | tested with | lines of ours |\n|---|---|---|---|\n"
# Of a size of install, what its row names: the rest is in constraints.txt.
MAIN = {"library": ("milvus-lite", "pyarrow", "pymilvus", "torch", "transformers")}
# What an extra is, and the code that only it needs.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "library": ("search and ingest in one's own process", ()),
    "cluster": ("the library, Ray, Ray Serve and Prefect", ()),
    "demo": ("a small model in a package", ()),
    "tracing": ("spans to an OpenTelemetry collector", ("serving/telemetry/tracing.py",)),
    "documents": ("PDF, Word, PowerPoint, Excel as a corpus", ("corpus/formats/documents/*.py",)),
    "sql": ("tables of databases as a corpus", ("corpus/sql_*.py",)),
    "delta": ("Delta tables as a corpus", ("corpus/delta_table.py",)),
    "iceberg": ("Iceberg tables as a corpus", ("corpus/iceberg_table.py",)),
    "eval": ("plots of an evaluation, the paper's data sets", ("report/plots.py",)),
    "docs": ("this documentation as a site", ()),
    "langchain": ("a `BaseRetriever`", ("integrations/langchain.py",)),
    "llamaindex": ("a `BaseRetriever`, a query with a filter", ("integrations/llamaindex.py",)),
    "mcp": ("a server for assistants", ("integrations/mcp.py", "cli/mcp.py")),
    "haystack": ("a retriever component", ("integrations/haystack.py",)),
}


def table() -> str:
    """The table as it has to stand on the page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {**project["optional-dependencies"]}
    del extras["dev"], extras["habits"]  # of those who work on mrag
    pinned = (ROOT / "constraints.txt").read_text("utf-8")
    versions = _exact(line for line in pinned.splitlines() if not line.startswith("#"))
    rows = []
    for name, needs in extras.items():
        about, globs = EXTRAS[name]
        needed = [re.split(r"[\[<>=; ]", need)[0] for need in needs]
        names = MAIN.get(name) or [each for each in needed if each != project["name"]]
        exact = versions | _exact(needs)
        tested = ", ".join(f"{each} {exact[_normal(each)]}" for each in names)
        rows.append(f"| `{name}` | {about} | {tested} | {_lines(globs)} |\n")
    return HEAD + "".join(rows)


def _exact(needs: Iterable[str]) -> dict[str, str]:
    pairs = (need.split("==") for need in needs if "==" in need)
    return {_normal(name): version for name, version in pairs}


def _lines(globs: tuple[str, ...]) -> int:
    """Of code, without blank ones and comments."""
    files = [path for glob in globs for path in sorted((ROOT / "mrag_pipeline").glob(glob))]
    assert len(files) >= len(globs), f"{globs} name no file"
    lines = [line.strip() for path in files for line in path.read_text("utf-8").splitlines()]
    return sum(1 for line in lines if line and not line.startswith("#"))


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    start = page.index(HEAD)
    end = page.find("\n\n", start) + 1 or len(page)
    PAGE.write_text(page[:start] + table() + page[end:], "utf-8")
