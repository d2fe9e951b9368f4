from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mrag_pipeline.cli import evaluation_tables
from mrag_pipeline.cli.evaluation_tables import show
from mrag_pipeline.report.paper import PaperFigures
from tests.support.made_evaluation import evaluation


def test_the_tables_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty columns: figures by hand, the paper's set apart, strategies of theirs alone too."""
    told = io.StringIO()
    monkeypatch.setattr(evaluation_tables, "out", Console(file=told, width=80))
    theirs = PaperFigures("toy", "Giant (7B)", {"standard": 0.111, "fusion": 0.222}, {})
    show(evaluation(("n", "1", "2", "3")), (theirs,))
    lines = told.getvalue().splitlines()
    cells = [line.split() for line in lines]
    assert ["standard", "0.250", "±.000", "0.250", "0.750", "1.000", "0.250", "0.000"] in cells
    assert "aspect 1.000 ±.000 +0.750 ±.000" in [" ".join(row[:5]) for row in cells]
    assert ["fusion", "0.222"] in cells
    assert "the authors' own published means" in told.getvalue()
    assert "theirs, not ours" in told.getvalue()
    assert "…" not in told.getvalue()
    assert "flaw 1 topics without a file" in told.getvalue()
    assert max(map(len, lines)) <= 80


def test_kinds_of_questions_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each kind and strategy, with success by number of aspects; in 80 columns."""
    told = io.StringIO()
    monkeypatch.setattr(evaluation_tables, "out", Console(file=told, width=80))
    made = evaluation(("n",))
    figures = tuple(figure for figure in made.figures if figure.measure == "success_ratio")
    show(replace(made, by_kind={"short": figures, "long": figures}), ())
    rows = [line.split() for line in told.getvalue().splitlines()]
    assert ["kind", "strategy", "mean", "1", "2"] in rows
    assert ["short", "standard", "0.250", "±.000", "0.00", "0.50"] in rows
    assert ["long", "standard", "0.250", "±.000", "0.00", "0.50"] in rows
    assert max(map(len, told.getvalue().splitlines())) <= 80
