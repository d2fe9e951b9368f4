"""Questions that a corpus makes of itself: kinds, numbers of aspects, answers, words avoided."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.gist import COMMON_SHARE, GistSample, words_of
from mrag_pipeline.domain.labelled_queries import LabelledQuery, LabelledSet
from mrag_pipeline.domain.made_questions import ASPECTS, KINDS, made_questions
from tests.support.made_corpus import made_corpus

CORPUS = made_corpus(60)
TITLE_OF = {document.id: document.title for document in CORPUS}
TEXT_OF = {document.id: f"{document.title}\n{document.text}" for document in CORPUS}


def keys_of(text: str) -> set[str]:
    return {word.key for word in words_of(text) if word.key}


def as_json(labelled: LabelledSet) -> str:
    return json.dumps(
        [(q.text, q.kind, [sorted(a.documents) for a in q.aspects]) for q in labelled.queries]
    )


def test_each_kind_and_number_of_aspects_has_its_questions() -> None:
    """Two of each of the thirty, and an aspect for each document that a question is made of."""
    made = made_questions(CORPUS, 60)
    cells = Counter((query.kind, len(query.aspects)) for query in made.queries)
    assert cells == {(kind, n): 2 for kind in KINDS for n in ASPECTS}
    assert all(query.num_named == len(query.aspects) for query in made.queries)


def test_the_same_documents_and_seed_give_the_same_questions() -> None:
    """In whatever order the documents come; another seed gives others."""
    made = as_json(made_questions(CORPUS, 30))
    assert as_json(made_questions(CORPUS[::-1], 30)) == made
    assert as_json(made_questions(CORPUS, 30, seed=1)) != made


def test_every_aspect_is_said_in_words_of_its_document() -> None:
    """The exact questions (the first thirty): some words of each document that is an answer."""
    for query in made_questions(CORPUS, 30).queries:
        for aspect in query.aspects:
            [document_id] = aspect.documents
            assert keys_of(query.text) & keys_of(TEXT_OF[document_id])


def test_the_second_question_of_a_kind_avoids_words_of_titles() -> None:
    """Whoever asks for a subject does not always know its name."""
    avoided = made_questions(CORPUS, 60).queries[30:]
    assert {query.kind for query in avoided} == set(KINDS)
    for query in avoided:
        if query.num_named == 1:  # of several documents, one may use a word of another's title
            [document_id] = query.aspects[0].documents
            assert not keys_of(query.text) & keys_of(TITLE_OF[document_id])


def test_rare_words_of_sentences_give_way_to_words_that_go_with_them() -> None:
    """Of the words that weigh, an exact question has only its document's, the other a part."""
    common = GistSample(CORPUS)
    made = made_questions(CORPUS, 60).queries

    def share(query: LabelledQuery) -> float:
        words = {word for word in keys_of(query.text) if common.share(word) <= COMMON_SHARE}
        [document_id] = query.aspects[0].documents
        return len(words & keys_of(TEXT_OF[document_id])) / len(words)

    for kind in ("sentence", "long"):
        exact, avoided = (query for query in made if query.kind == kind and query.num_named == 1)
        assert share(exact) == 1.0
        assert share(avoided) < 1.0


def test_copies_of_a_document_count_as_its_answer() -> None:
    """Nobody can tell them apart, so either is right and they are never two aspects."""
    copies = [Document(f"copy-{d.id}", d.text, d.title) for d in CORPUS[:20]]
    for query in made_questions([*CORPUS, *copies], 60).queries:
        for aspect in query.aspects:
            original = min(aspect.documents, key=len)
            has_copy = f"copy-{original}" in {copy.id for copy in copies}
            assert aspect.documents == {original, f"copy-{original}"} or not has_copy
    assert any(
        len(a.documents) == 2
        for q in made_questions([*CORPUS, *copies], 60).queries
        for a in q.aspects
    )


@pytest.mark.parametrize(("num_documents", "most"), [(3, 1), (12, 4), (60, 10)])
def test_a_small_corpus_is_asked_for_few_of_its_documents(num_documents: int, most: int) -> None:
    """At most a third of them: fetching n documents must not fetch all."""
    made = made_questions(CORPUS[:num_documents], 60)
    assert max(query.num_named for query in made.queries) == most


def test_documents_that_say_nothing_are_left_out_and_counted() -> None:
    """Numbers and code cannot be asked for."""
    silent = [Document("numbers", "1 2 3 4 5 6 7 8 9 10"), Document("code", "{a: [1], b: (2)}")]
    made = made_questions([*CORPUS, *silent], 30)
    assert [flaw.count for flaw in made.flaws] == [2]
    assert made_questions(silent, 30).queries == ()


def test_a_language_without_spaces_or_and_is_asked_too() -> None:
    """Nothing depends on English: subjects are joined by a comma."""
    names = "山川河海林田村城橋舟雲雨雪風星月花鳥魚虫"
    documents = []
    for n in range(len(names)):
        a, b, c, d = (names[(n * step + step) % len(names)] for step in (1, 3, 7, 9))
        text = (
            f"{a}{b}的故事在这里{b}{a}{c}{d}开始了。人们说{d}{c}{a}{c}从来没有离开{b}{c}{a}{d}。"
            * 2
        )
        documents.append(Document(f"d{n}", text, a + b))
    made = made_questions(documents, 12)
    assert made.queries
    assert all(" and " not in query.text for query in made.queries)
