"""The cross-encoder's scores against a plain loop of transformers, one pair at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mrag_pipeline.encoder.cross_encoder import load_cross_encoder
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.settings.rerank import RerankSpec
from tests.support.tiny_models import CONFIGS, MAX_POSITIONS, save_cross_encoder

FAMILIES = ["bert", "electra", "roberta", "xlm-roberta", "distilbert", "modernbert", "mpnet"]
CAUSAL = ["qwen2", "qwen3", "llama", "gpt2"]
LONG = " ".join(f"w{number % 60}" for number in range(90))
REQUESTS = (
    RerankRequest("w1 w2 w3", ("w1 w2 w3", "w4", "w5 w6 w7 w8 w9 . w10 w11 w12", LONG)),
    RerankRequest(LONG, ("w1", "w2 w3 . w59", LONG)),
    RerankRequest("w7", tuple(f"w{number} w7" for number in range(11))),
)
PAIRS = [(request.query, text) for request in REQUESTS for text in request.passages]


def plain_scores(folder: Path, max_tokens: int, positive: int = 1) -> list[float]:
    """Each pair alone, without padding, by transformers' own call."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    model: Any = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    scores = []
    for query, passage in PAIRS:
        inputs = tokenizer(
            query, passage, truncation=True, max_length=max_tokens, return_tensors="pt"
        )
        with torch.no_grad():
            logits = model(**inputs).logits[0].double()
        shares = torch.sigmoid(logits) if len(logits) == 1 else torch.softmax(logits, 0)
        scores.append(float(shares[0 if len(logits) == 1 else positive]))
    return scores


def our_scores(folder: Path, **changes: Any) -> list[float]:
    reranker = load_cross_encoder(RerankSpec(model=str(folder), device="cpu", **changes))
    return np.concatenate(reranker.scores(REQUESTS, 60.0)).tolist()


@pytest.mark.parametrize("family", [name for name in FAMILIES + CAUSAL if name in CONFIGS])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_batches_by_length_score_as_one_pair_at_a_time(
    family: str, num_labels: int, tmp_path: Path
) -> None:
    """Encoders and causal models, one label or two, pairs that are cut among them."""
    folder = save_cross_encoder(tmp_path, family, num_labels)
    np.testing.assert_allclose(
        our_scores(folder, batch=4), plain_scores(folder, MAX_POSITIONS), atol=1e-5
    )


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_no_score(batch: int, tmp_path: Path) -> None:
    """Whatever a pair is padded with."""
    folder = save_cross_encoder(tmp_path)
    np.testing.assert_allclose(our_scores(folder, batch=batch), our_scores(folder), atol=1e-6)


def test_max_tokens_cuts_the_longer_text(tmp_path: Path) -> None:
    """As transformers' truncation does: the shorter text stays whole."""
    folder = save_cross_encoder(tmp_path)
    np.testing.assert_allclose(
        our_scores(folder, max_tokens=16), plain_scores(folder, 16), atol=1e-5
    )


def test_a_first_label_that_says_relevant_is_the_score(tmp_path: Path) -> None:
    """Two labels by their names, where these are the other way round."""
    names = {0: "relevant", 1: "irrelevant"}
    folder = save_cross_encoder(
        tmp_path, num_labels=2, id2label=names, label2id={name: row for row, name in names.items()}
    )
    np.testing.assert_allclose(
        our_scores(folder), plain_scores(folder, MAX_POSITIONS, positive=0), atol=1e-5
    )


def test_scores_agree_with_sentence_transformers(tmp_path: Path) -> None:
    """The field's own class for cross-encoders gives the same numbers."""
    library = pytest.importorskip(
        "sentence_transformers", reason="pip install sentence-transformers"
    )
    folder = save_cross_encoder(tmp_path)
    theirs = library.CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    np.testing.assert_allclose(our_scores(folder), theirs, atol=1e-5)
