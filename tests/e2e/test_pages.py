"""The commands of README and docs/, page by page, in one folder with an index of the example.

What a page calls by a placeholder (ID, MODEL, articles.jsonl) is there. A block that says what it
needs is left to the tests that have it; the tutorial has a test of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support import docs_blocks
from tests.support.docs_blocks import Block
from tests.support.page_reader import Reader
from tests.support.project_folder import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

OURS = "tests/e2e/test_pages.py"
BLOCKS = [b for b in docs_blocks.blocks() if b.kind == "run" and b.run_by == OURS]
SHELL_PAGES = list(dict.fromkeys(block.page for block in BLOCKS if block.language != "python"))
# Lines of these blocks that need a registry, an hour, or are for who works on mrag.
LEFT_OUT = ("pip install ", "mrag evaluate wikipedia-v1", "python -m pytest ")
CTRL_C = "kill -INT $!\nwait $!"  # how somebody goes on after `mrag serve`
OLD_NOTES = ("cluster", "heads", "scores")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, minilm: EncoderSpec) -> Iterator[Reader]:
    """Somebody in a folder with the example, its live index, and the files that pages name."""
    folder = tmp_path_factory.mktemp("pages")
    reader = Reader(folder)
    reader.types("$ mrag init --example\n$ mrag ingest\n")
    handbook = (folder / "handbook.jsonl").read_text("utf-8").splitlines()
    (folder / "articles.jsonl").write_text("\n".join(handbook), "utf-8")
    shutil.copy(folder / "questions.jsonl", folder / "mine.jsonl")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "model").symlink_to(_model_folder(minilm.model))
    (folder / "docs").mkdir()
    for name in OLD_NOTES:
        shutil.copy(ROOT / "docs" / f"{name}.md", folder / "docs")
    (folder / "changed.jsonl").write_text(handbook[0], "utf-8")
    (folder / "log.jsonl").write_text("\n".join(handbook[:5]) + "\n", "utf-8")
    (folder / "gone.tsv").write_text("tax-dog\tthe dog tax\n", "utf-8")
    rows = [json.loads(line) for line in handbook]
    demo = [row | {"module": row["department"], "kind": str(row["year"])} for row in rows]
    (folder / "demo.jsonl").write_text("\n".join(map(json.dumps, demo)), "utf-8")
    (folder / "examples").mkdir()
    (folder / "examples" / "demo.toml").write_text(
        f'index = "python"\n[encoder]\nmodel = "{minilm.model}"\n'
        f'[corpus]\nuri = "{folder / "demo.jsonl"}"\n',
        "utf-8",
    )
    reader.types("$ mrag ingest -c examples/demo.toml -s chunking.max_tokens=64\n")
    reader.types("$ mrag ingest -c examples/demo.toml\n")
    yield reader
    reader.stops()


def _model_folder(model: str) -> Path:
    return find_model(EncoderSpec(model)).root


def filled(line: str, reader: Reader, minilm: EncoderSpec) -> str:
    """The line with what its placeholders stand for."""
    if line == "mrag init":  # the reader's folder has the example's config
        line = "(cd $(mktemp -d) && mrag init)"
    line = re.sub(r"\bID\b", "compost", line)
    line = re.sub(r"\bMODEL\b", minilm.model, line)
    line = re.sub(r"\bNAME\b", "frontend", line)
    if "v0123456789ab" in line:
        versions = json.loads(reader.types("$ mrag versions -c examples/demo.toml --json\n"))
        other = next(row["version"] for row in versions["versions"] if row["state"] != "live")
        line = line.replace("v0123456789ab", other) + " -c examples/demo.toml"
    if re.fullmatch(r"mrag serve( --json)?", line):
        line = "mrag serve --json > serve.json &\nuntil grep -q ready serve.json; do sleep 1; done"
    return line


@pytest.mark.parametrize("page", SHELL_PAGES)
def test_the_commands_of_a_page_succeed(page: str, reader: Reader, minilm: EncoderSpec) -> None:
    """One after the other, each block in a shell of its own."""
    for block in BLOCKS:
        if block.page != page or block.language == "python":
            continue
        lines = [line for line in block.commands if not line.startswith(LEFT_OUT)]
        typed = [filled(line, reader, minilm) for line in lines]
        for at, following in enumerate(lines[1:], 1):
            if lines[at - 1] == "mrag serve" and following.startswith("mrag "):
                typed[at] = f"{CTRL_C}\n{typed[at]}"  # a Lite database has one owner
        reader.types("".join(f"$ {line}\n" for line in "\n".join(typed).splitlines()))
        reader.stops()


def test_the_python_of_the_readme(reader: Reader) -> None:
    """Against the service of the example."""
    reader.types(
        "$ mrag serve --json > serve.json &\n$ until grep -q ready serve.json; do sleep 1; done\n"
    )
    try:
        [block] = python_of("README.md")
        said = program(block.text.replace("127.0.0.1:8000", f"127.0.0.1:{reader.port}"), reader)
    finally:
        reader.stops()
    assert said.startswith("[")


def test_the_python_of_pushes(reader: Reader) -> None:
    """With the `index` that docs/python.md opens."""
    [block] = python_of("pushing.md")
    opened = "from mrag_pipeline import Index\nindex = Index.open()\n"
    said = program(f"{opened}{block.text}\nprint(index.search('a giant star', k=1).hits)", reader)
    assert "A giant star." in said


def python_of(page: str) -> list[Block]:
    return [block for block in BLOCKS if (block.page, block.language) == (page, "python")]


def program(text: str, reader: Reader) -> str:
    """What the program prints in the reader's folder."""
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=reader.folder, env=reader.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
