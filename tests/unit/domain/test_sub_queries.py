"""Sub-queries are parsed from a chat model's answer."""

from mrag_pipeline.domain.sub_queries import parse, prompt


def test_list_marks_quotes_and_empty_lines_are_removed() -> None:
    """However the model lists them, the sub-queries are plain text, in order, without repeats."""
    answer = '1. roman roads\n\n- "tax law"\n* bees\n3) roman roads\n2024 elections\n'
    assert parse(answer, 9) == ["roman roads", "tax law", "bees", "2024 elections"]


def test_at_most_the_requested_number_is_taken() -> None:
    """A model that returns more causes no more searches."""
    assert parse("a\nb\nc", 2) == ["a", "b"]


def test_the_prompt_holds_the_query_and_the_number() -> None:
    """The model is asked about this query."""
    assert "7 short" in prompt("bees and taxes", 7)
    assert "bees and taxes" in prompt("bees and taxes", 7)
