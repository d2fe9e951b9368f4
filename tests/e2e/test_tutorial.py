"""docs/tutorial.md, block by block, from an empty folder, with nothing but what it says.

A block whose first line says what it needs is run where the test has that: a chat model is played
by a server of the test's own, and cron by a table and a shell as bare as cron's; the registry is
left to `make release-check`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.chat_server import a_chat_server, completion, plain
from tests.support.page_reader import Reader
from tests.support.project_folder import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
LEFT_OUT = ("a package registry",)
CRONTAB = """#!/bin/sh
if [ "$1" = -l ]; then cat "$HOME/table"; exit; fi
cat > "$HOME/table.new" && mv "$HOME/table.new" "$HOME/table"
"""


@pytest.fixture
def reader(tmp_path: Path, minilm: EncoderSpec) -> Iterator[Reader]:
    """Somebody with an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    reader = Reader(folder)
    yield reader
    reader.stops()


def needs(block: str) -> str:
    """What a block's first line says that it needs; "" for nothing."""
    first = block.splitlines()[0]
    return first.removeprefix("# needs: ") if first.startswith("# needs: ") else ""


def scheduled(reader: Reader, block: str) -> str:
    """What the block's line does when cron runs it: with /bin/sh and almost no environment."""
    home = reader.folder.parent / "home"
    home.mkdir()
    (home / "table").write_text("# nothing yet\n")
    cron = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    executable(home / "crontab", CRONTAB)
    ours = f"PYTHONPATH={ROOT} exec {sys.executable} -m mrag_pipeline.cli"
    executable(reader.folder / ".venv" / "bin" / "mrag", f'#!/bin/sh\n{ours} "$@"\n')
    before = dict(reader.environment)
    reader.environment |= {"HOME": str(home), "PATH": f"{home}:{before['PATH']}"}
    reader.types(block)
    reader.environment = before
    kept, line = (home / "table").read_text().splitlines()
    assert kept == "# nothing yet"
    minute, *others, command = line.split(maxsplit=5)
    assert (minute, others) == ("15", ["*"] * 4)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=cron, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_the_tutorial(reader: Reader) -> None:
    """Each block prints what the tutorial shows of it, in that order of the blocks."""
    started = time.monotonic()
    for block in BLOCKS:
        need = needs(block)
        if need.startswith(LEFT_OUT):
            continue
        if need == "cron":
            said = scheduled(reader, block)
        elif need.startswith("a chat model"):
            reader.stops()
            with a_chat_server(plain(200, completion("Call the town [1]."))) as (url, _):
                said = reader.types(block, **{"http://127.0.0.1:11434/v1": url})
        else:
            said = reader.types(block)
        words = " ".join(said.split())
        for line in block.splitlines():
            if not line.startswith(("$ ", "# ")):
                assert " ".join(line.split()) in words, f"{line!r} is not in\n{said[-3000:]}"
    print(f"the tutorial took {time.monotonic() - started:.0f} s")


def test_a_block_that_is_left_out_says_why() -> None:
    """And there are only these."""
    assert [needs(block) for block in BLOCKS if needs(block).startswith(LEFT_OUT)] == [
        "a package registry; MRAG is the folder of your copy of this project"
    ]
