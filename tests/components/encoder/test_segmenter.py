from __future__ import annotations

import base64
import random
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrag_pipeline.encoder.segmenter import TokenSegmenter, open_segmenter
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_byte_tokenizer, save_model


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder)
    return TextTokenizer(folder)


def pieces(segmenter: TokenSegmenter, text: str) -> list[str]:
    return [text[start:end] for start, end in segmenter.sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith left. He slept.", ["Dr. Smith left.", "He slept."]),
        ("Some, e.g. cats, do. Dogs?", ["Some, e.g. cats, do.", "Dogs?"]),
        ("Pi is 3.14, v1.2.3 too. Yes!", ["Pi is 3.14, v1.2.3 too.", "Yes!"]),
        ("これは文です。二番目！三番目", ["これは文です。", "二番目！", "三番目"]),
        ("这是第一句。这是第二句。", ["这是第一句。", "这是第二句。"]),
        ("Use os.path.join(a, b). Done.", ["Use os.path.join(a, b).", "Done."]),
        ("One para\n\nAnother para", ["One para", "Another para"]),
        ("😀 first. Ünd zweitens.", ["😀 first.", "Ünd zweitens."]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
    ],
)
def test_sentences_end_where_readers_say(
    tokenizer: TextTokenizer, text: str, expected: list[str]
) -> None:
    """Abbreviations, numbers and dotted names do not end a sentence; any script is split."""
    assert pieces(TokenSegmenter(tokenizer, ChunkingSpec()), text) == expected


def test_a_passage_ends_with_its_paragraph(tokenizer: TextTokenizer) -> None:
    """A passage ends at the strongest border that fits: paragraph, sentence, word."""
    segmenter = TokenSegmenter(tokenizer, ChunkingSpec(max_tokens=20))
    text = "w1 w2 w3. w4 w5.\n\nw6 w7 w8 w9. w10 w11"
    passages = [text[start:end] for start, end in segmenter.passages(text)]
    assert passages[0] == "w1 w2 w3. w4 w5."


@settings(max_examples=50)
@example("日99", 4, 2)
@given(
    st.text(
        st.sampled_from("aZ9 .!?\n\n  日本。é😀\ud800\t\r\x00\u2028,;()'\"-_#=w"), max_size=400
    ),
    st.integers(4, 40),
    st.integers(0, 3),
)
def test_nothing_but_white_space_is_lost(
    tokenizer: TextTokenizer, text: str, size: int, overlap: int
) -> None:
    """Spans are within the text, in order, and cover every character that is not white space."""
    segmenter = TokenSegmenter(tokenizer, ChunkingSpec(size, overlap))
    for spans in (segmenter.passages(text), segmenter.sentences(text)):
        assert spans == sorted(spans)
        covered = {index for start, end in spans for index in range(start, end)}
        assert all(c.isspace() or i in covered for i, c in enumerate(text))
        assert all(0 <= start < end <= len(text) for start, end in spans)


MEGABYTE = {
    "base64": base64.b64encode(random.Random(1).randbytes(200_000)).decode(),
    "one letter": "x" * 300_000,
    "Chinese": "日本語東京都" * 15_000,
    "Chinese sentences": "日本語東京都で会う。" * 10_000,
    "words on one line": "hello world and more. " * 12_000,
    "line ends": "\n" * 300_000,
    "stops": "." * 100_000,
}


@pytest.mark.parametrize("kind", MEGABYTE)
def test_a_long_text_takes_time_in_proportion(tokenizer: TextTokenizer, kind: str) -> None:
    """At most 25 s per megabyte on a slow core; quadratic time would take minutes."""
    segmenter = TokenSegmenter(tokenizer, ChunkingSpec(max_tokens=128))
    text = MEGABYTE[kind]
    began = time.process_time()
    spans = segmenter.passages(text)
    segmenter.sentences(text)
    assert time.process_time() - began < 25 * len(text) / 1e6
    assert all(n <= 128 for n in segmenter.count_tokens([text[a:b] for a, b in spans]))


def test_cutting_in_blocks_changes_nothing(tokenizer: TextTokenizer) -> None:
    """A text much longer than a block is cut like its parts; passages stay full."""
    segmenter = TokenSegmenter(tokenizer, ChunkingSpec(max_tokens=64))
    sentence = "Now w2 w3 w4 w5 w6. "
    spans = segmenter.passages(sentence * 3_000)
    lengths = {end - start for start, end in spans[:-1]}
    assert len(lengths) == 1


@pytest.mark.parametrize("overlap", [-1, 64, 65])
def test_an_overlap_is_less_than_a_chunk(tokenizer: TextTokenizer, overlap: int) -> None:
    """A larger overlap would never advance."""
    with pytest.raises(ConfigError, match="overlap"):
        TokenSegmenter(tokenizer, ChunkingSpec(max_tokens=64, overlap_tokens=overlap))


def test_chunks_longer_than_the_encoder_reads_are_refused(tmp_path: Path) -> None:
    """A BERT of 48 positions leaves 46 tokens for a chunk; two are special."""
    encoder = load_encoder(EncoderSpec(str(save_model("bert", tmp_path))))
    open_segmenter(encoder, ChunkingSpec(max_tokens=46))
    with pytest.raises(ConfigError, match="46 or less"):
        open_segmenter(encoder, ChunkingSpec(max_tokens=47))
