"""Sub-queries out of a chat model's answer."""

from mrag_pipeline.domain.sub_queries import parse, prompt


def test_marks_quotes_and_empty_lines_are_no_part_of_a_sub_query() -> None:
    """However the model lists them, the queries come out bare and in order."""
    answer = '1. roman roads\n\n- "tax law"\n* bees\n3) roman roads\n2024 elections\n'
    assert parse(answer, 9) == ["roman roads", "tax law", "bees", "2024 elections"]


def test_no_more_than_asked_for_are_taken() -> None:
    """A talkative model costs no more searches."""
    assert parse("a\nb\nc", 2) == ["a", "b"]


def test_the_prompt_holds_the_query_and_the_number() -> None:
    """What is asked is about this query."""
    assert "7 short" in prompt("bees and taxes", 7)
    assert "bees and taxes" in prompt("bees and taxes", 7)
