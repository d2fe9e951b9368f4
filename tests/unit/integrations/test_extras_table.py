"""The table of extras in docs/integrations.md is what its script writes."""

from __future__ import annotations

from tests.support.extras_table import PAGE, table


def test_the_page_has_the_table() -> None:
    """Names, pinned versions and lines; `python -m tests.support.extras_table` writes it."""
    assert table() in PAGE.read_text("utf-8")
