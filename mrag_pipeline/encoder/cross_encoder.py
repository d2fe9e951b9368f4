"""Scores passages for a query with a local cross-encoder: a sequence-classification model.

Shape legend: N pairs of query and passage, B pairs of a batch, T tokens, C labels (1 or 2).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from mrag_pipeline.encoder.device import find_device
from mrag_pipeline.encoder.families import FAMILIES
from mrag_pipeline.encoder.model_folder import ModelFolder
from mrag_pipeline.encoder.model_loading import load_classifier
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.tokenizer import clean, load_tokenizer
from mrag_pipeline.errors import (
    BadVectors,
    ConfigError,
    OutOfTime,
    RerankerUnavailable,
    UnsupportedArchitecture,
)
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.settings.rerank import RerankSpec

log = logging.getLogger(__name__)

# Names of the label 0 of a model with two labels, if it is the one that says "relevant".
_POSITIVE = frozenset({"relevant", "true", "yes", "positive"})
_CHARS_PER_TOKEN = 32  # what a text is cut to before it is tokenized: no text fills it with less
_DEFAULT_LIMIT = 512  # tokens, if neither model nor tokenizer states a limit


def load_cross_encoder(spec: RerankSpec, threads: int = 0) -> CrossEncoder:
    """The cross-encoder that the spec describes, ready to score.

    Args:
        threads: of torch, for the whole process; 0 leaves the number unchanged.
    Raises: ModelNotFound, UnsafeWeights, ConfigError; UnsupportedArchitecture for a model that
        does not classify sequences by one or two labels.
    """
    started = time.perf_counter()
    if threads > 0:
        torch.set_num_threads(threads)
    folder = find_model(spec, "rerank")
    _check_labels(folder)
    device = find_device(spec.device, "rerank.device")
    model = load_classifier(folder, getattr(torch, spec.dtype))
    model.to(device)  # type: ignore[arg-type]
    tokenizer = load_tokenizer(folder.transformer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    max_tokens = _max_tokens(spec, model.config, tokenizer)
    log.info(
        "cross_encoder_loaded model=%s type=%s labels=%d max_tokens=%d device=%s dtype=%s "
        "seconds=%.1f",
        *(spec.model, model.config.model_type, model.config.num_labels, max_tokens, device),
        *(spec.dtype, time.perf_counter() - started),
    )
    return CrossEncoder(spec, model, tokenizer, max_tokens)


class CrossEncoder:
    """A `Reranker` over a transformers model. Threads may share it: passes run one at a time."""

    def __init__(
        self,
        spec: RerankSpec,
        model: transformers.PreTrainedModel,
        tokenizer: Any,
        max_tokens: int,
    ) -> None:
        self._spec = spec
        self._model = model
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        names: Any = model.config.id2label or {}
        first = str(names.get(0, "")).strip().lower()
        self._sign = -1.0 if first in _POSITIVE else 1.0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model as the config names it; of a folder, its last part: answers show it."""
        path = Path(self._spec.model)
        return path.name if path.is_dir() else self._spec.model

    @property
    def max_tokens(self) -> int:
        """The most tokens of a query and a passage together."""
        return self._max_tokens

    def use_threads(self, threads: int) -> None:
        """Sets torch's number of threads; must be called in the thread that scores."""
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        """As `Reranker.scores`: how likely each passage is relevant, from 0 to 1.

        A pair that is too long loses the end of its longer text.
        Raises: OutOfTime between two batches; BadVectors for NaN or inf.
        """
        deadline = time.monotonic() + seconds
        pairs = [(request.query, text) for request in requests for text in request.passages]
        found = np.empty(len(pairs), np.float64)
        with self._lock, torch.inference_mode():
            rows = self._tokenized(pairs)
            # Neighbours in length share a batch, so that little of it is padding.
            order = sorted(range(len(rows)), key=lambda row: -len(rows[row]["input_ids"]))
            for start in range(0, len(order), self._spec.batch):
                if time.monotonic() > deadline:
                    raise _out_of_time(start, len(pairs), seconds)
                batch = order[start : start + self._spec.batch]
                found[batch] = self._run([rows[row] for row in batch])
        if not np.isfinite(found).all():
            raise BadVectors(
                f"{int((~np.isfinite(found)).sum())} of {len(found)} scores of {self.name} are NaN",
                "finite scores",
                "check the weights and rerank.dtype (float16 can overflow: try float32)",
            )
        ends = np.cumsum([len(request.passages) for request in requests])
        return np.split(found, ends[:-1]) if requests else []

    def close(self) -> None:
        """Nothing to release: the model goes with the object."""

    def _tokenized(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
        """The model's inputs for each pair, with special tokens, without padding."""
        if not pairs:
            return []
        chars = _CHARS_PER_TOKEN * self._max_tokens
        queries, passages = zip(*pairs, strict=True)
        encoded = self._tokenizer(
            [clean(text[:chars]) for text in queries],
            [clean(text[:chars]) for text in passages],
            truncation="longest_first",
            max_length=self._max_tokens,
        )
        rows = [{name: encoded[name][row] for name in encoded} for row in range(len(pairs))]
        for row in rows:
            if not row["input_ids"]:  # two empty texts, and a tokenizer without special tokens
                row.update(input_ids=[self._tokenizer.pad_token_id], attention_mask=[1])
        return rows

    def _run(self, rows: Sequence[dict[str, list[int]]]) -> NDArray[np.float64]:
        """(B,) the scores of one batch."""
        inputs = self._tokenizer.pad(list(rows), padding=True, return_tensors="pt")
        try:
            logits = self._model(**inputs.to(self._model.device)).logits.double().cpu()  # (B, C)
        except RuntimeError as error:  # of the device: its memory is full, or it is lost
            raise RerankerUnavailable(
                f"{self.name} failed on {self._model.device} with {len(rows)} passages at once: "
                f"{str(error).strip().splitlines()[0]}",
                "a batch that fits into memory, and a device that works",
                "lower rerank.batch or rerank.max_tokens",
            ) from error
        logit = logits[:, 0] if logits.shape[1] == 1 else self._sign * (logits[:, 1] - logits[:, 0])
        return np.asarray(torch.sigmoid(logit).numpy())


def _check_labels(folder: ModelFolder) -> None:
    """Refuses a config of another number of labels before any weight is read.

    Raises: UnsupportedArchitecture.
    """
    config = folder.config()
    labels = config.get("id2label")
    # transformers' own default is two.
    num_labels = len(labels) if isinstance(labels, dict) else int(config.get("num_labels", 2))
    if num_labels not in (1, 2):
        raise UnsupportedArchitecture(
            f"{folder.transformer} classifies by {num_labels} labels",
            "one label (a score), or two (not relevant, relevant)",
            "use a cross-encoder that was trained to rank; a model of entailment or topics is none",
        )


def _max_tokens(spec: RerankSpec, config: Any, tokenizer: Any) -> int:
    """The most tokens of a pair: the setting, at most what model and tokenizer can read.

    Raises: ConfigError if special tokens alone fill it.
    """
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    family = FAMILIES.get(config.model_type)
    if positions > 0 and family is not None and family.positions_after_pad:
        positions -= int(config.pad_token_id) + 1
    limits = [spec.max_tokens, int(tokenizer.model_max_length), positions]
    most = min((limit for limit in limits if 0 < limit < 1_000_000), default=_DEFAULT_LIMIT)
    num_special = int(tokenizer.num_special_tokens_to_add(pair=True))
    if most < num_special + 2:
        raise ConfigError(
            f"rerank.max_tokens = {most}",
            f"more than the {num_special} special tokens of every pair, and room for two texts",
            "set it to 0 for the model's own limit",
        )
    return most


def _out_of_time(num_scored: int, num_pairs: int, seconds: float) -> OutOfTime:
    return OutOfTime(
        f"the cross-encoder scored {num_scored} of {num_pairs} passages within {seconds:.3g} s",
        "all of them in time",
        "raise rerank.timeout_s, or rescore fewer documents (rerank.documents)",
    )
