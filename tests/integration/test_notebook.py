"""A notebook that ingests and asks, executed by Jupyter's own client and kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CELLS = (
    """
from mrag_pipeline import Index
index = Index.open(index="facts", encoder={{"model": "{model}"}})
index.ingest([
    {{"id": "dog", "text": "A shaggy herding dog guards the sheep."}},
    {{"id": "star", "text": "A cool giant <b>star</b> is rich in carbon."}},
])
""",
    'index.search("Which star is rich in carbon, and which dog guards sheep?", k=2)',
    """
import asyncio
assert asyncio.get_running_loop().is_running()
(await index.asearch("a star", k=1)).hits[0].document_id
""",
    "index.close()",
)


@pytest.fixture(scope="module")
def executed(minilm: EncoderSpec, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook, with what its cells showed; a cell that fails fails the test."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(cell.format(model=minilm.model)) for cell in CELLS[:1]]
    cells += [nbformat.v4.new_code_cell(cell) for cell in CELLS[1:]]
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        nbclient.NotebookClient(notebook, timeout=600, resources=folder).execute()
    return notebook


def html_of(cell: Any) -> list[str]:
    return [
        output["data"]["text/html"]
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]


def test_an_ingest_shows_its_bars(executed: Any) -> None:
    """One output, redrawn: every phase of the run with its count, at its end complete."""
    [bars] = html_of(executed.cells[0])
    text = re.sub("<[^>]*>", "", bars)
    for phase in ("embed", "load", "verify"):
        done, total = re.search(rf"{phase}\s+\S+\s+(\d+)/(\d+)", text).groups()  # type: ignore[union-attr]
        assert int(done) == int(total) > 0, phase


def test_an_answer_shows_hits_aspects_and_votes(executed: Any) -> None:
    """Texts are text, not markup; the heat map has a row for each hit."""
    [html] = html_of(executed.cells[1])
    assert "A shaggy herding dog" in html
    assert "&lt;b&gt;star&lt;/b&gt;" in html
    assert "l05_h00" in html
    assert html.count("min-width:2em") >= 2 * 12


def test_a_coroutine_runs_in_the_notebooks_own_loop(executed: Any) -> None:
    """`await` in a cell."""
    assert executed.cells[2].outputs[-1]["data"]["text/plain"] == "'star'"
