"""The code blocks of the documentation, and which test runs each.

    python -m tests.support.docs_blocks    # counts them

A block is *run* by a test, or says in its first line what it `needs:` that not every machine has,
or is for people who work on mrag (`make`, pytest, benchmarks): then it is *checked*, its files and
targets exist.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "deploy" / "README.md"])
SHELLS = ("console", "bash")
NEEDS = "# needs: "
Kind = Literal["run", "needs", "checked"]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DEVELOPERS = re.compile(r"^(?:\w+=\S+ )?(?:make|python (?:-m (?:pytest|tests)|benchmarks/)\S*)\b")
_SUITE = re.compile(r"^python -m pytest .*\.py$")
# Which test runs the blocks of a page, by the blocks' language; "*": every page.
RUN_BY = {
    ("README.md", "console"): "tests/e2e/test_pages.py",
    ("README.md", "python"): "tests/e2e/test_pages.py",
    ("api.md", "bash"): "tests/integration/test_api_docs.py",
    ("client.md", "python"): "tests/integration/test_client_service.py",
    ("corpora.md", "console"): "tests/e2e/test_pages.py",
    ("damage.md", "console"): "tests/e2e/test_pages.py",
    ("deploy/README.md", "bash"): "tests/e2e/test_walk.py",
    ("environments.md", "console"): "tests/e2e/test_pages.py",
    ("heads.md", "console"): "tests/e2e/test_pages.py",
    ("how-heads-vote.md", "python"): "tests/components/docs/test_code_blocks.py",
    ("index.md", "console"): "tests/e2e/test_pages.py",
    ("integrations.md", "python"): "tests/integration/test_integrations_page.py",
    ("mcp.md", "python"): "tests/integration/test_integrations_page.py",
    ("operations.md", "bash"): "tests/e2e/test_pages.py",
    ("page.md", "console"): "tests/e2e/test_pages.py",
    ("pushing.md", "console"): "tests/e2e/test_pages.py",
    ("pushing.md", "python"): "tests/e2e/test_pages.py",
    ("python.md", "python"): "tests/integration/test_python_index.py",
    ("recipes.md", "console"): "tests/e2e/test_pages.py",
    ("retrieval.md", "console"): "tests/e2e/test_pages.py",
    ("scores.md", "console"): "tests/e2e/test_pages.py",
    ("security.md", "console"): "tests/e2e/test_pages.py",
    ("stability.md", "console"): "tests/e2e/test_pages.py",
    ("tutorial.md", "console"): "tests/e2e/test_tutorial.py",
    ("*", "toml"): "tests/unit/test_docs_pages.py",
    ("*", "json"): "tests/components/docs/test_code_blocks.py",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    language: str
    text: str

    @property
    def needs(self) -> str:
        """What its first line says that it needs; "" for nothing."""
        first = self.text.splitlines()[0]
        return first.removeprefix(NEEDS) if first.startswith(NEEDS) else ""

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block without prompt and comment; continued lines are one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        typed = (re.split(r"(?:^|\s)#(?:\s|$)", line.removeprefix("$ "))[0] for line in lines)
        return [" ".join(line.split()) for line in typed if line.strip()]

    @property
    def run_by(self) -> str:
        """The test that runs it, "" for none; tests that a block names are in the suite itself."""
        if self.commands and all(map(_SUITE.match, self.commands)):
            return self.commands[0].split()[-1]
        return RUN_BY.get((self.page, self.language)) or RUN_BY.get(("*", self.language), "")

    @property
    def kind(self) -> Kind | None:
        """How it is held; None if nothing holds it."""
        if self.needs:
            return "needs"
        if self.language in SHELLS and all(map(_SUITE.match, self.commands)):
            return "run"
        if self.language in SHELLS and all(_DEVELOPERS.match(line) for line in self.commands):
            return "checked"
        return "run" if self.run_by else None


def blocks() -> Iterator[Block]:
    """Every block that names its language, in order; plain text is not code."""
    for page in PAGES:
        name = "deploy/README.md" if page.parent == ROOT / "deploy" else page.name
        for language, text in _BLOCK.findall(page.read_text("utf-8")):
            if language != "text":
                yield Block(name, language, text)


def summary() -> str:
    """How many blocks are run, by which test, and how many are not."""
    every = list(blocks())
    kinds = Counter(block.kind for block in every)
    tests = Counter(block.run_by for block in every if block.kind == "run")
    lines = [f"{len(every)} blocks: {kinds['run']} run, {kinds['checked']} checked, "]
    lines[0] += f"{kinds['needs']} need something"
    lines += [f"  {number:3} run by {test}" for test, number in sorted(tests.items())]
    lines += [f"  {block.page} needs {block.needs}" for block in every if block.kind == "needs"]
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary())
