"""The code blocks of all pages: commands and options that exist, Python that compiles.

Whether they succeed is another test's question; `tests/support/docs_blocks.py` says which.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator

import pytest

from docs.site.reference import cli
from tests.support import docs_blocks

ROOT = docs_blocks.ROOT
BLOCKS = list(docs_blocks.blocks())
COMMANDS = dict(cli.commands())
EVERYWHERE = {"--help", "--version"}
HEADS_VOTE = ("how-heads-vote.md", "python")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Each block of that language, with its page."""
    return ((block.page, block.text) for block in BLOCKS if block.language == language)


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


def test_every_block_is_held_by_something() -> None:
    """A test runs it, or its first line says `# needs: ...`, or it is for who works on mrag."""
    assert [(block.page, block.text) for block in BLOCKS if block.kind is None] == []
    tests = {block.run_by for block in BLOCKS if block.kind == "run"}
    assert [test for test in tests if not (ROOT / test).exists()] == []


def test_most_blocks_are_run() -> None:
    """`python -m tests.support.docs_blocks` prints the count."""
    kinds = Counter(block.kind for block in BLOCKS)
    assert kinds["run"] > 3 * (kinds["needs"] + kinds["checked"])


def test_what_developers_type_exists() -> None:
    """Targets of the Makefile, files of tests and benchmarks."""
    lines = [line for b in BLOCKS if b.kind == "checked" for line in b.commands]
    assert lines
    missing = []
    for line in lines:
        words = [word for word in shlex.split(line) if "=" not in word]
        files = [word for word in words if "/" in word and not (ROOT / word).exists()]
        made = words[1:] if words[0] == "make" else []
        missing += files + [target for target in made if target not in TARGETS]
    assert missing == []


def test_the_python_of_how_heads_vote() -> None:
    """All blocks in one program, as a reader would type them; each asserts what it shows."""
    program = "\n".join(b.text for b in BLOCKS if (b.page, b.language) == HEADS_VOTE)
    assert program.count("assert ") >= 6
    exec(compile(program, "how-heads-vote.md", "exec"), {})


def test_there_are_commands_to_check() -> None:
    """The pages' blocks are found."""
    assert len(SHELL) > 60
