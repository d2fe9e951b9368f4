"""The files of an evaluation's report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.report.folder import write_report
from mrag_pipeline.report.paper import PaperFigures
from tests.support.made_evaluation import evaluation

PAPER = (PaperFigures("toy", "Giant (7B)", {"standard": 0.1}, {}, {"standard": {1: 0.1, 2: 0.1}}),)


def test_a_report_is_json_a_page_and_plots(tmp_path: Path) -> None:
    """Every file is written, every plot is on the page, the paper's figures are kept apart."""
    written = write_report(evaluation(), PAPER, "mrag evaluate toy", tmp_path / "a" / "b")
    names = [path.name for path in written]
    assert names == [
        "evaluation.json",
        "report.md",
        "success_by_aspects.png",
        "success_by_k.png",
        "head_importance.png",
        "votes_1.png",
    ]
    values = json.loads(written[0].read_text())
    assert values["made_by"] == "mrag evaluate toy"
    assert values["figures"][0]["by_aspects"] == {"1": 0.0, "2": 0.5}
    assert values["published_by_the_papers_authors"][0]["model"] == "Giant (7B)"
    page = written[1].read_text()
    assert all(f"![{name}]({name})" in page for name in names[2:])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[2:])


def test_without_matplotlib_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation of an hour is not lost for want of a plot; the page names none."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    written = write_report(evaluation(), PAPER, "mrag evaluate toy", tmp_path)
    assert [path.name for path in written] == ["evaluation.json", "report.md"]
    assert ".png" not in written[1].read_text()


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    """A report can be kept under version control."""
    first = write_report(evaluation(), PAPER, "x", tmp_path / "1")
    second = write_report(evaluation(), PAPER, "x", tmp_path / "2")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        write_report(evaluation(), (), "", tmp_path / "file")
