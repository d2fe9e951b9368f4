"""A prompt's places are filled, and a wrong template is refused."""

from __future__ import annotations

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.domain.prompt_template import filled
from mrag_pipeline.errors import ConfigError

VALUES = {"passages": "P", "unsourced": "", "question": "Q"}


def test_what_a_value_says_of_places_stays_text() -> None:
    """A passage cannot pull the question into itself."""
    values = VALUES | {"passages": "see {question} and {unsourced}"}
    assert filled("{passages}: {question}", values) == "see {question} and {unsourced}: Q"


def test_a_paragraph_with_nothing_to_say_is_left_out() -> None:
    """With its sentence; one whose value has empty lines stays whole."""
    template = "{passages}\n\nNothing on:\n{unsourced}\n \nQuestion: {question}"
    assert filled(template, VALUES) == "P\n\nQuestion: Q"
    assert filled(template, VALUES | {"passages": "a\n\nb", "unsourced": "- c"}) == (
        "a\n\nb\n\nNothing on:\n- c\n\nQuestion: Q"
    )


def test_braces_around_more_than_a_word_are_text() -> None:
    """A prompt can show the JSON that it wants."""
    template = '{passages} {question} as {"answer": "...", "n": {}}'
    Config.parse({"llm": {"prompt": template}})
    assert filled(template, VALUES) == 'P Q as {"answer": "...", "n": {}}'


@pytest.mark.parametrize(
    ("template", "found", "fix"),
    [
        ("{passage} {question}", "{passage}", "did you mean {passages}?"),
        ("{passages} {question} {json}", "{json}", "without the braces"),
        ("{question}", "no {passages}", "add {passages}"),
        ("{passages}", "no {question}", "add {question}"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, found: str, fix: str) -> None:
    """When the config is read, with its key."""
    with pytest.raises(ConfigError) as caught:
        Config.parse({"llm": {"prompt": template}})
    assert found in caught.value.found
    assert "llm.prompt" in caught.value.found
    assert fix in caught.value.fix
