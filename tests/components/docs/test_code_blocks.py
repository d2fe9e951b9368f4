"""The code blocks of all pages: commands and options that exist, Python that compiles.

Not whether they succeed: `tests/e2e/test_tutorial.py`, `tests/e2e/test_walk.py` and
`tests/integration/test_api_docs.py` run whole pages.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.reference import cli

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "deploy" / "README.md"])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = dict(cli.commands())
EVERYWHERE = {"--help", "--version"}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Each block of that language, with its page."""
    for page in PAGES:
        for found, text in BLOCK.findall(page.read_text("utf-8")):
            if found == language:
                yield page.name, text


def typed(text: str) -> Iterator[str]:
    """The `mrag` commands in a block of shell, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.split(r"(?:^|\s)#(?:\s|$)", line.removeprefix("$ "))[0].strip()
        line = re.split(r" (?:\||&&|\|\||>|&)(?: |$)", line)[0].removesuffix("&").strip()
        if line.startswith("mrag "):
            yield line


SHELL = [
    (page, line) for kind in ("console", "bash") for page, b in blocks(kind) for line in typed(b)
]


@pytest.mark.parametrize(("page", "line"), SHELL)
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    """Also those of groups, such as `mrag keys new`."""
    words = shlex.split(line)[1:]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    if name.startswith("-"):
        return
    assert name in COMMANDS, f"{page}: {line}"
    known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | EVERYWHERE
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    assert [option for option in options if option not in known] == [], f"{page}: {line}"


@pytest.mark.parametrize(("page", "text"), list(blocks("python")))
def test_python_of_a_page_compiles(page: str, text: str) -> None:
    """With top-level await, as notebooks have it."""
    compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(("page", "text"), list(blocks("json")))
def test_json_of_a_page_is_json(page: str, text: str) -> None:
    """An ellipsis stands for what is left out."""
    json.loads(re.sub(r",?\s*\.\.\.", "", text))


def test_there_are_commands_to_check() -> None:
    """The pages' blocks are found."""
    assert len(SHELL) > 60
