"""The programs of docs/integrations.md, from files to a cited answer, in an index of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import environment

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
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
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(programs) == 4
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(programs)],
        cwd=tmp_path,
        env=environment()
        | {"PYTHONPATH": str(PAGE.parents[1]), "HAYSTACK_TELEMETRY_ENABLED": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    cited = [line for line in ended.stdout.splitlines() if re.match(r"\[[12]\] ", line)]
    assert len(cited) == 8, ended.stdout
    assert [set(cited[at : at + 2]) for at in (2, 4, 6)] == [set(cited[:2])] * 3
    assert any("dog.txt" in line and "herding dog" in line for line in cited[:2])
    assert any("star.txt" in line and "rich in carbon" in line for line in cited[:2])
