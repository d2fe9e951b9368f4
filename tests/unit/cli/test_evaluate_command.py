from __future__ import annotations

import io

import pytest
from rich.console import Console

from mrag_pipeline.cli import evaluate as command
from mrag_pipeline.cli.evaluate import ks_of, names_of, show
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.report.paper import PaperFigures
from tests.support.made_evaluation import evaluation


def test_k_is_n_or_numbers() -> None:
    """In the order given, each once."""
    assert ks_of("n, 10,n,5") == ("n", "10", "5")


@pytest.mark.parametrize("text", ["", "0", "n,-1", "1.5", "ten", "1001", "n,,10", "٣"])
def test_any_other_k_is_refused(text: str) -> None:
    """The message shows what was given and what is right."""
    with pytest.raises(ConfigError, match="--k") as caught:
        ks_of(text)
    assert "n,10,20" in caught.value.expected


def test_strategies_are_names_between_commas() -> None:
    """Blanks and repeats are forgiven; nothing given is not an empty list."""
    assert names_of("aspect, standard,aspect,") == ["aspect", "standard"]
    assert names_of(None) is None


def test_the_tables_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty columns: figures by hand, the paper's set apart, strategies of theirs alone too."""
    told = io.StringIO()
    monkeypatch.setattr(command, "out", Console(file=told, width=80))
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
