from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.encoder.tokenizer import TextTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "Paris", "a", "b"]
TOKENIZER = "DPRQuestionEncoderTokenizer"


def save(folder: Path, lower_case: bool) -> Path:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    config = {"do_lower_case": lower_case, "tokenizer_class": TOKENIZER}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "dpr"}))
    return folder


@pytest.mark.parametrize(("lower_case", "expected"), [(True, 5), (False, 6)])
def test_dprs_tokenizer_follows_its_lower_case_flag(
    lower_case: bool, expected: int, tmp_path: Path
) -> None:
    """A cased DPR was trained on "Paris"; transformers' own class for it reads "paris"."""
    tokenizer = TextTokenizer(save(tmp_path, lower_case), "dpr")
    assert tokenizer.ids(["Paris"], 8) == [[2, expected, 3]]


@pytest.mark.parametrize("max_tokens", [3, 4, 5])
def test_a_text_is_cut_inside_its_special_tokens(max_tokens: int, tmp_path: Path) -> None:
    """As in training: the last token is [SEP] even if the text is truncated."""
    tokenizer = TextTokenizer(save(tmp_path, True), "dpr")
    (ids,) = tokenizer.ids(["a b a b a"], max_tokens)
    assert (len(ids), ids[0], ids[-1]) == (max_tokens, 2, 3)


def test_a_lone_surrogate_is_a_token_like_any_other(tmp_path: Path) -> None:
    """It is replaced by U+FFFD; the rest of the text is kept."""
    tokenizer = TextTokenizer(save(tmp_path, True), "dpr")
    assert tokenizer.ids(["a \ud800 b"], 8) == tokenizer.ids(["a � b"], 8)
