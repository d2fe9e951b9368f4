"""docs/evaluation.ipynb, executed from an empty folder by Jupyter's own client and kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from docs.site import notebook
from mrag_pipeline.settings.encoder import EncoderSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NOTEBOOK = notebook.FOLDER / "evaluation.ipynb"
MEASURED = re.compile(r"^(\w+) +(\d\.\d\d)  \[", re.MULTILINE)


@pytest.fixture(scope="module")
def cells(minilm: EncoderSpec, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its cells with what they show; one that fails fails the test."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    return notebook.executed(NOTEBOOK, tmp_path_factory.mktemp("evaluation")).cells


def printed(cells: Any) -> str:
    """Everything that its cells print."""
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_it_measures_what_the_page_shows(cells: Any) -> None:
    """Every strategy, as near as another CPU's last bits may move a question."""
    import nbformat

    shown = dict(MEASURED.findall(printed(nbformat.read(NOTEBOOK, as_version=4).cells)))
    measured = dict(MEASURED.findall(printed(cells)))
    assert set(measured) == set(shown) == {"standard", "bm25", "hybrid", "mrag", "adaptive"}
    for strategy, figure in measured.items():
        assert float(figure) == pytest.approx(float(shown[strategy]), abs=0.03), strategy


def test_it_draws_its_plots(cells: Any) -> None:
    """Success by subjects, success by documents fetched, the heads' importance."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    drawn = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in code]
    assert sum(drawn) == 3
    assert max(drawn) == 1


def test_the_page_has_what_it_shows(tmp_path: Path) -> None:
    """Text and pictures of the notebook as it is kept; needs no kernel."""
    markdown, pictures = notebook.page(NOTEBOOK)
    assert len(pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert all(f"({place})" in markdown for place in pictures)
    assert MEASURED.search(markdown)
