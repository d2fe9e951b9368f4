"""Studies of versions whose heads are known: what was planted is found, noise is called noise."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from mrag_pipeline.domain.head_study import FORMAT, HeadStudy
from mrag_pipeline.errors import ConfigError, VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.stages.heads.study import StudyRequest, study_heads
from tests.support.builds import RecordingProgress
from tests.support.planted_heads import (
    COLOURS,
    HEAD_DIM,
    INDEX,
    OTHER,
    STANDARD_DIM,
    by_label,
    documents,
    load,
    planted,
    subjects,
)

CHUNKS = documents()
HEADS, STANDARD = planted(CHUNKS)
REQUEST = StudyRequest(sample=60, neighbours=5, fields=("metadata.colour",))


def studied(request: StudyRequest = REQUEST, *, words: bool = True) -> HeadStudy:
    index = ExactIndex(INDEX)
    record = load(index, CHUNKS, HEADS, STANDARD, words=words)
    return study_heads(record, index, request, RecordingProgress())


STUDY = studied()


def test_equal_heads_overlap_fully_and_find_nothing_alone() -> None:
    """Heads 0 and 1 are one: whatever one finds the other finds."""
    assert STUDY.overlap[0][1] == 1.0
    assert STUDY.voter("l05_h00").only_found == 0.0
    assert STUDY.voter("l05_h00").above_chance is None


def test_three_heads_two_of_them_equal_count_as_two() -> None:
    """By their neighbours; a little less, as the colour's head meets subjects by chance."""
    assert STUDY.groups["heads"].effective_number == pytest.approx(1.8, abs=0.1)
    assert STUDY.groups["heads"].effective_number_by_alignment == pytest.approx(1.8, abs=0.1)


def test_the_head_that_separates_a_field_is_found() -> None:
    """Head 2 is near by colour: it leads clearly, also over every piece of the standard vector."""
    [field] = STUDY.fields
    assert field.leader == "l05_h02"
    assert field.num_values == len(COLOURS)
    assert field.purity["l05_h02"].low > 0.9
    assert field.purity["l05_h00"].high < 0.5
    assert field.chance == pytest.approx(0.25, abs=0.08)
    assert field.lead.low > 0.4
    assert field.lead_over_pieces.low > 0.4
    assert field.spread_of_heads > 0.2 > field.spread_of_pieces


def test_a_heads_words_are_those_that_it_separates() -> None:
    """Of the colour's head: words of colours, and no others; subjects' words are passed over."""
    head = STUDY.heads[2]
    assert len(head.keeps) == 8
    assert {own.word.rstrip("0123456789") for own in head.keeps} <= set(COLOURS)
    assert not {own.word.rstrip("0123456789") for own in head.passes_over} & set(COLOURS)


def test_examples_are_pairs_that_only_the_head_finds() -> None:
    """Same colour, another subject; drawn from its three nearest; the seed draws the same."""
    colour_of = {chunk.document_id: chunk.metadata["colour"] for chunk in CHUNKS}
    examples = STUDY.heads[2].examples
    assert len(examples) == 3
    for pair in examples:
        assert colour_of[pair.chunk.document_id] == colour_of[pair.neighbour.document_id]
        assert pair.chunk.document_id != pair.neighbour.document_id
        assert 1 <= pair.rank <= 3
        assert pair.cosine > pair.standard_cosine
    assert [head.examples for head in studied().heads] == [head.examples for head in STUDY.heads]
    assert STUDY.heads[0].examples == ()


def test_heads_that_are_pieces_are_not_called_more() -> None:
    """Heads cut from the standard vector itself: the figures are alike, and so says the verdict."""
    index = ExactIndex(INDEX)
    edges = np.linspace(0, STANDARD_DIM, 4).astype(int)
    cut = [STANDARD[:, start:end] for start, end in itertools.pairwise(edges)]
    record = load(index, CHUNKS, cut, STANDARD)
    study = study_heads(record, index, REQUEST, RecordingProgress())
    assert study.verdict in ("like pieces", "chance", "too little")
    assert study.difference.overlap.high < 0.1


def test_random_heads_are_called_chance() -> None:
    """What they find alone is everything, and worth nothing."""
    index = ExactIndex(INDEX)
    random = np.random.default_rng(9)
    noise = [random.normal(size=(len(CHUNKS), HEAD_DIM)).astype(np.float32) for _ in range(4)]
    record = load(index, CHUNKS, noise, STANDARD)
    study = study_heads(record, index, REQUEST, RecordingProgress())
    assert study.verdict == "chance"
    assert study.groups["heads"].only_found > 0.7
    assert study.groups["heads"].num_above_chance <= 1
    assert study.conclusion.startswith("No aspects: ")


def test_heads_with_subjects_of_their_own_are_called_more() -> None:
    """Each near by another part of the words, the standard vector by noise alone."""
    index = ExactIndex(INDEX)
    colours = [str(chunk.metadata["colour"]) for chunk in CHUNKS]
    firsts = [chunk.text.split()[4] for chunk in CHUNKS]
    own = [
        by_label(labels, HEAD_DIM, seed)
        for seed, labels in enumerate([subjects(CHUNKS), colours, firsts])
    ]
    noise = np.random.default_rng(9).normal(size=(len(CHUNKS), STANDARD_DIM))
    record = load(index, CHUNKS, own, noise.astype(np.float32), words=False)
    study = study_heads(record, index, REQUEST, RecordingProgress())
    assert study.verdict == "more than pieces"
    assert study.conclusion.startswith("Heads have preferences of their own: ")


def test_a_version_without_words_is_studied_without_a_lexical_voter() -> None:
    """The matrix has the heads and the standard vector."""
    assert studied(words=False).overlap_voters == ("l05_h00", "l05_h01", "l05_h02", "standard")
    assert STUDY.overlap_voters[-1] == "lexical"


def test_the_same_seed_gives_the_same_figures() -> None:
    """All but the time that searches took."""

    def figures(study: HeadStudy) -> str:
        timeless = replace(study, heads=tuple(replace(head, search_ms=0.0) for head in study.heads))
        return json.dumps(timeless.to_dict())

    assert figures(studied()) == figures(STUDY)
    assert figures(studied(replace(REQUEST, seed=1))) != figures(STUDY)


def test_the_figures_are_plain_json_with_a_format() -> None:
    """No NaN, which is not JSON."""
    plain = json.loads(json.dumps(STUDY.to_dict(), allow_nan=False))
    assert plain["format"] == FORMAT
    assert [voter["name"] for voter in plain["voters"]][3:5] == ["standard", "lexical"]
    assert {voter["kind"] for voter in plain["voters"]} == {"head", "standard", "lexical", "piece"}


def test_neighbours_are_other_documents_each_once() -> None:
    """A document of many chunks takes one place, and its own chunks none."""
    long = [
        replace(chunk, document_id=f"long{number // 40}", ordinal=number % 40)
        for number, chunk in enumerate(CHUNKS)
    ]
    index = ExactIndex(INDEX)
    record = load(index, long, HEADS, STANDARD)
    study = study_heads(record, index, REQUEST, RecordingProgress())
    # Three documents: two others for each chunk, so all voters agree.
    assert study.groups["heads"].overlap == 1.0
    assert study.groups["heads"].only_found == 0.0
    assert study.verdict == "too little"


def test_progress_reaches_its_total() -> None:
    """Every search and every read is counted once."""
    index, progress = ExactIndex(INDEX), RecordingProgress()
    record = load(index, CHUNKS, HEADS, STANDARD)
    study_heads(record, index, REQUEST, progress)
    totals = {name: total for name, total, _ in progress.phases}
    assert totals == progress.done
    assert totals["neighbours"] == 60 * (3 + 3 + 2)
    assert progress.finished == ["neighbours", "words"]


def test_a_missing_vector_is_not_passed_over() -> None:
    """A head without a sampled chunk is a damaged version."""
    index = ExactIndex(INDEX)
    record = load(index, CHUNKS, HEADS, STANDARD)
    index.delete(record.head_collections()[1], [chunk.id for chunk in CHUNKS[:60]])
    with pytest.raises(VerifyFailed, match="lacks"):
        study_heads(record, index, REQUEST, RecordingProgress())


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (replace(REQUEST, sample=5), "20 to 10,000"),
        (replace(REQUEST, neighbours=0), "1 to 50"),
        (replace(REQUEST, seed=-1), "0 or more"),
        (replace(REQUEST, fields=("colour",)), "metadata.colour"),
        (replace(REQUEST, fields=("metadata.shape",)), "metadata.colour, metadata.number"),
    ],
    ids=["sample", "neighbours", "seed", "no field", "no such field"],
)
def test_a_request_that_cannot_be_answered_is_refused(request_: StudyRequest, word: str) -> None:
    """The error says what would do."""
    with pytest.raises(ConfigError, match=word):
        studied(request_)


def test_a_version_of_a_few_chunks_is_refused() -> None:
    """Intervals over three chunks would be nonsense."""
    index = ExactIndex(INDEX)
    record = load(index, CHUNKS[:3], [head[:3] for head in HEADS], STANDARD[:3])
    with pytest.raises(ConfigError, match="at least 20"):
        study_heads(record, index, REQUEST, RecordingProgress())


# ------------------------------------------------------------------ drift
def drifted(heads: list[np.ndarray], chunks: list = CHUNKS) -> HeadStudy:
    """The planted version beside another with these heads and chunks."""
    index = ExactIndex(INDEX)
    record = load(index, CHUNKS, HEADS, STANDARD)
    other = load(index, chunks, heads, STANDARD[: len(chunks)], OTHER)
    return study_heads(record, index, REQUEST, RecordingProgress(), other)


def test_the_same_vectors_have_not_drifted() -> None:
    """Everything is kept, by every voter."""
    drift = drifted(HEADS).drift
    assert drift is not None
    assert drift.mean_of_heads is not None
    assert drift.mean_of_heads.value == 1.0
    assert drift.overlap["standard"].value == drift.overlap["lexical"].value == 1.0
    assert (drift.num_chunks, drift.num_missing, drift.only_here) == (60, 0, 0.0)


def test_a_head_that_changed_shows_and_the_others_do_not() -> None:
    """Head 0 is new; 1 and 2 are as they were."""
    random = np.random.default_rng(8)
    new = random.normal(size=HEADS[0].shape).astype(np.float32)
    drift = drifted([new, HEADS[1], HEADS[2]]).drift
    assert drift is not None
    assert drift.overlap["l05_h00"].high < 0.2
    assert drift.overlap["l05_h01"].value == drift.overlap["l05_h02"].value == 1.0
    assert not drift.same_encoder


def test_heads_that_changed_places_show_in_the_matrix() -> None:
    """What is head 2 here is head 0 there."""
    drift = drifted([HEADS[2], HEADS[1], HEADS[0]]).drift
    assert drift is not None
    assert drift.matrix[2][0] == 1.0
    assert drift.matrix[2][2] < 0.5


def test_removed_documents_are_counted_apart() -> None:
    """Half the documents are gone: what stays is kept, what went is said."""
    half = CHUNKS[: len(CHUNKS) // 2]
    drift = drifted([head[: len(half)] for head in HEADS], half).drift
    assert drift is not None
    assert drift.num_chunks + drift.num_missing == 60
    assert 15 < drift.num_chunks < 45
    assert 0.3 < drift.only_here < 0.7
    assert drift.only_there == 0.0
    assert drift.overlap["l05_h02"].value == 1.0


def test_chunks_cut_elsewhere_are_matched_by_document_and_place() -> None:
    """Another chunking gives other ids; the chunk that covers most stands for the sampled one."""
    recut = [replace(chunk, id=number + 1) for number, chunk in enumerate(CHUNKS)]
    drift = drifted(HEADS, recut).drift
    assert drift is not None
    assert drift.num_missing == 0
    assert drift.overlap["l05_h02"].value == 1.0


def test_documents_with_another_text_are_not_compared() -> None:
    """Nothing in common: refused, and said why."""
    others = [
        replace(chunk, id=number + 1, fingerprint="other") for number, chunk in enumerate(CHUNKS)
    ]
    with pytest.raises(ConfigError, match="are in vba9876543210 too"):
        drifted(HEADS, others)
