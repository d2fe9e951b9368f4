"""What was read lately, and no more of it than said."""

from __future__ import annotations

from mrag_pipeline.staging.recently_read import Recent


def test_what_was_used_least_lately_goes() -> None:
    """Setting and getting both count as use."""
    recent = Recent[str](2)
    recent.set(1, "one")
    recent.set(2, "two")
    assert recent.get(1) == "one"
    recent.set(3, "three")
    assert (recent.get(1), recent.get(2), recent.get(3)) == ("one", None, "three")
    assert len(recent) == 2


def test_a_value_is_replaced_and_all_are_forgotten() -> None:
    """The same number again takes no second place."""
    recent = Recent[str](2)
    recent.set(1, "one")
    recent.set(1, "another")
    assert (recent.get(1), len(recent)) == ("another", 1)
    recent.clear()
    assert (recent.get(1), len(recent)) == (None, 0)
