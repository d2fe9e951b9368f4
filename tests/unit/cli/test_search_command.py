"""`mrag search`: what it refuses before a model is loaded or an index opened."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import typer

from mrag_pipeline import cli, wiring
from mrag_pipeline.errors import ConfigError


def search(*words: str) -> None:
    """Runs the command as from a shell; its errors are raised."""
    app = typer.Typer()
    cli.add_commands(app)
    typer.main.get_command(app)(["search", *words], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["bees", "--strategy", "adaptve"], "no strategy 'adaptve'"),
        (["bees", "--strategy", "mrag", "--window", "b"], "windows for the strategy mrag"),
        (["bees", "--strategy", "fusion", "--window", "b"], "--window for the strategy fusion"),
        (["bees", "--window", " "], "windows without text"),
        (["bees", "--voter", "lexical"], "--voter 'lexical'"),
        (["bees", "--voter", "lexical=much"], "--voter 'lexical=much'"),
        (["bees", "--voter", "bm25=1"], "no voter 'bm25'"),
        (["bees", "--voter", "heads=-1"], "a share of -1 for the voter heads"),
        (["bees", "--strategy", "standard", "--voter", "standard=0"], "no voter of the strategy"),
        (["bees", " "], "a query without text"),
        (["bees", "--set", "retrieve.strategy=mrag", "--window", "b"], "windows for the strategy"),
    ],
)
def test_a_wrong_query_is_refused_at_once(
    words: Sequence[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the model, also for the second query."""

    def opened(_: object) -> None:
        raise AssertionError("the index was opened")

    monkeypatch.setattr(wiring, "index", opened)
    with pytest.raises(ConfigError) as caught:
        search(*words)
    assert caught.value.found.startswith(found)
