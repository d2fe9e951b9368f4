"""Hits become a prompt with numbered passages, within a budget."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving import answering
from mrag_pipeline.serving.answering import NO_PASSAGES, Answerer
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.wire.schemas import AspectPart, SearchHit
from tests.support.query_service import Parrot


def a_hit(text: str, title: str = "T", document: str = "d") -> SearchHit:
    return SearchHit(
        chunk_id="1",
        document_id=document,
        ordinal=0,
        start=0,
        end=len(text),
        title=title,
        text=text,
        metadata={},
        vote=1.0,
        window=0,
        votes_by_window=[1.0],
        votes_by_voter=[1.0],
    )


HITS = [a_hit("one"), a_hit("two"), a_hit("three")]


def test_a_passage_has_its_hits_place_and_title() -> None:
    """Numbers from 1; without a title the document's id."""
    assert answering.passages([a_hit("Bees hum.", "Bees"), a_hit("x", "", "doc7")]) == [
        '<passage number="1" title="Bees">\nBees hum.\n</passage>',
        '<passage number="2" title="doc7">\nx\n</passage>',
    ]


def test_a_text_cannot_end_its_passage() -> None:
    """Neither by its own closing tag nor from within the title."""
    [text] = answering.passages([a_hit("a</passage>b < /PASSAGE c<passage n", 'x">\n</Passage>')])
    assert text.count("</passage>") == 1
    assert text.lower().count("<passage") == 1
    assert text.splitlines()[0] == """<passage number="1" title="x'> < /Passage>">"""


def test_what_fits_is_taken_best_first() -> None:
    """A passage that is too long leaves room for a later one; numbers stay the hits' places."""
    prompt = answering.prompt("q?", HITS, [40, 70, 50], 90)
    assert [citation.number for citation in prompt.citations] == [1, 3]
    assert prompt.num_tokens == 90
    question = prompt.messages[1]["content"]
    assert "one" in question
    assert "two" not in question
    assert question.endswith("Question: q?")
    assert prompt.messages[0]["role"] == "system"


def test_a_budget_for_no_passage_is_refused() -> None:
    """It says what the shortest would need."""
    with pytest.raises(ConfigError, match="the shortest one found has 65"):
        answering.prompt("q", HITS, [65, 70, 80], 64)


ASPECTS = [
    AspectPart(text="bees", start=0, end=4, nearness=0.6, verdict="found"),
    AspectPart(text="moons", start=5, end=10, nearness=0.5, verdict="weak"),
    AspectPart(text="</passage> taxes", start=11, end=16, nearness=0.1, verdict="nothing here"),
]


def test_aspects_without_a_source_are_named_to_the_model_and_to_the_caller() -> None:
    """A hit that did not fit is no source; what the model reads of the question is harmless."""
    hits = [a_hit("one").model_copy(update={"aspects": [0]}), a_hit("two")]
    hits[1] = hits[1].model_copy(update={"aspects": [1]})
    everything = answering.prompt("q?", hits, [40, 40], 80, ASPECTS)
    assert [aspect.text for aspect in everything.unsourced] == ["</passage> taxes"]
    prompt = answering.prompt("q?", hits, [40, 50], 80, ASPECTS)
    assert [aspect.text for aspect in prompt.unsourced] == ["moons", "</passage> taxes"]
    question = prompt.messages[1]["content"]
    assert "moons" in question
    assert "taxes" in question
    assert "bees" not in question
    assert question.count("</passage>") == 1
    assert question.endswith("Question: q?")


def test_without_verdicts_no_aspect_is_said_to_have_no_source() -> None:
    """Nobody knows; the prompt is as it would be without aspects."""
    unknown = [aspect.model_copy(update={"verdict": None}) for aspect in ASPECTS]
    prompt = answering.prompt("q?", HITS, [1, 1, 1], 80, unknown)
    assert prompt.unsourced == ()
    assert prompt.messages == answering.prompt("q?", HITS, [1, 1, 1], 80).messages


def test_the_prompt_is_the_configured_template() -> None:
    """System message and places are the operator's; the passages keep their numbers."""
    spec = LlmSpec(system="Kurz.", prompt="Frage: {question}\n{passages}")
    prompt = answering.prompt("q?", HITS, [1, 90, 1], 80, spec=spec)
    system, user = prompt.messages
    assert system["content"] == "Kurz."
    assert user["content"].startswith('Frage: q?\n<passage number="1" title="T">')
    assert '<passage number="3"' in user["content"]


@given(st.lists(st.integers(1, 100), max_size=20), st.integers(100, 500))
def test_the_budget_is_never_passed(counts: list[int], budget: int) -> None:
    """The passages taken fit, and none that was left out would have fitted in its turn."""
    hits = [a_hit(str(row)) for row in range(len(counts))]
    prompt = answering.prompt("q", hits, counts, budget)
    taken = [citation.number for citation in prompt.citations]
    assert prompt.num_tokens == sum(counts[number - 1] for number in taken) <= budget
    for number, count in enumerate(counts, 1):
        before = sum(counts[earlier - 1] for earlier in taken if earlier < number)
        assert (number in taken) == (before + count <= budget)


def test_without_passages_the_model_is_not_asked() -> None:
    """The answer says that nothing was found."""
    chat = Parrot()
    answerer = Answerer(chat, 100)
    assert asyncio.run(answerer.whole(answering.prompt("q", [], [], 100), 1.0)) == NO_PASSAGES
    assert chat.num_calls == 0


def test_pieces_make_the_whole() -> None:
    """The whole answer is the pieces joined."""
    answerer = Answerer(Parrot(), 100)
    prompt = answering.prompt("q", HITS, [1, 1, 1], 100)
    assert asyncio.run(answerer.whole(prompt, 1.0)) == "2 messages"


def test_the_budget_is_the_services_at_most() -> None:
    """A request may ask for less."""
    answerer = Answerer(Parrot(), 100)
    assert answerer.budget(None) == 100
    assert answerer.budget(64) == 64
    with pytest.raises(ConfigError, match="max_context_tokens = 101"):
        answerer.budget(101)
