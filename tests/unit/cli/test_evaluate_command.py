from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.cli import evaluate as command
from mrag_pipeline.cli.evaluate import ks_of, names_of
from mrag_pipeline.errors import ConfigError


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


@pytest.mark.parametrize(
    ("data_set", "queries", "of_self", "export", "found"),
    [
        (None, None, False, None, "neither"),
        ("legal-v1", None, True, None, "a data set and --self"),
        (None, Path("q.jsonl"), True, None, "--queries and --self"),
        ("legal-v1", None, False, Path("q.jsonl"), "--export without --self"),
    ],
)
def test_one_source_of_questions_is_named(
    data_set: str | None, queries: Path | None, of_self: bool, export: Path | None, found: str
) -> None:
    """Two would contradict each other; the message names both."""
    with pytest.raises(ConfigError, match=found):
        command.check_subject(data_set, queries, of_self, export)
