"""Texts to head embeddings with a transformers model, one forward pass.

Shape legend: N texts, B texts of a batch, T tokens, H heads (of all layers read),
D head dimension, E standard width.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role
from mrag_pipeline.encoder.device_copies import DeviceCopies
from mrag_pipeline.encoder.encoder_card import card_of, poolings
from mrag_pipeline.encoder.forward_paths import PaddedPath, PaddingSide, Path, choose_path
from mrag_pipeline.encoder.head_capture import Capture, family_of, find_capture
from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_loading import load_model
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.readout import Readout
from mrag_pipeline.encoder.sentence_folder import sentence_head, sentence_settings
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.errors import BadVectors, ConfigError
from mrag_pipeline.settings.encoder import EncoderSpec

log = logging.getLogger(__name__)

Ids = list[list[int]]

# Texts tokenized together and sorted by length together; the next so many meanwhile.
WINDOW_TEXTS = 2_048


def load_encoder(
    spec: EncoderSpec,
    *,
    device: str = "auto",
    batch_tokens: int = 16_384,
    threads: int = 0,
    packed: bool = True,
    padding_side: PaddingSide = "right",
) -> TransformerEncoder:
    """The encoder that the spec asks for, ready to encode.

    Args:
        device: auto (a GPU if there is one), cpu, cuda, or cuda:1 for the second GPU.
        batch_tokens: most tokens in one forward pass, padding counted.
        threads: of torch, for the whole process; 0 leaves them as they are.
        packed: False keeps the padded path, and the model's own linear layers, even where
            what is faster serves.
        padding_side: of the padded path.
    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
    """
    started = time.perf_counter()
    if threads > 0:
        torch.set_num_threads(threads)
    folder = find_model(spec)
    on = _device(device)
    if on.type == "cpu" and spec.dtype == "bfloat16" and not multiplies_bfloat16():
        log.warning(
            "encoder_slow dtype=bfloat16: this CPU does not multiply in it; "
            "encoder.dtype = 'float32' is several times faster"
        )
    model = load_model(folder, getattr(torch, spec.dtype))
    model.to(on)  # type: ignore[arg-type]
    settings = sentence_settings(folder)
    tokenizer = TextTokenizer(
        folder.transformer, model.config.model_type, lower_case=settings.lower_case
    )
    capture = find_capture(model, model.config, spec.layers)
    family = family_of(model, capture)
    head = None
    if spec.standard_pooling == "auto":
        head = sentence_head(folder, int(model.config.hidden_size))
    pooled_at = poolings(spec, family, settings)
    card = card_of(
        spec, folder, model.config, family, capture, tokenizer, settings, head, pooled_at
    )
    after = None if head is None else head.to(on)
    readout = Readout(model, capture, family, *pooled_at, after)
    first_position = int(model.config.pad_token_id) + 1 if family.positions_after_pad else 0
    padded = PaddedPath(model, readout, tokenizer.pad_id, first_position, padding_side)
    path = choose_path(model, readout, padded, first_position, card.max_tokens, packed)
    log.info(
        "encoder_loaded model=%s family=%s layers=%s heads=%d head_dim=%d max_tokens=%d "
        "pooling=%s standard=%s path=%s device=%s dtype=%s seconds=%.1f",
        *(spec.model, card.family, capture.layers, len(card.heads), card.head_dim),
        *(card.max_tokens, card.pooling, card.standard_pooling, path.name, on, spec.dtype),
        time.perf_counter() - started,
    )
    return TransformerEncoder(card, model, tokenizer, capture, path, batch_tokens)


class TransformerEncoder:
    """An `Encoder` over a transformers model. Safe to share between threads: one pass at a time."""

    def __init__(
        self,
        card: EncoderCard,
        model: transformers.PreTrainedModel,
        tokenizer: TextTokenizer,
        capture: Capture,
        path: Path,
        batch_tokens: int,
    ) -> None:
        self._card = card
        self._model = model
        self._tokenizer = tokenizer
        self._capture = capture
        self._path = path
        self._batch_tokens = max(1, batch_tokens)
        self._lock = threading.Lock()

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._card

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    @property
    def model(self) -> transformers.PreTrainedModel:
        """The network."""
        return self._model

    @property
    def path(self) -> str:
        """How texts are run: packed or padded."""
        return self._path.name

    @property
    def capture(self) -> Capture:
        """The projections whose input is read."""
        return self._capture

    @property
    def batch_tokens(self) -> int:
        """Most tokens in a forward pass; halves each time the memory does not suffice."""
        return self._batch_tokens

    def use_threads(self, threads: int) -> None:
        """Has torch compute in so many threads from now on, if called in the one that encodes."""
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    def encode(self, texts: Sequence[str], role: Role, *, standard: bool = True) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, prefix of the role added.

        Args:
            standard: False leaves the standard embedding out (E is 0): the pass ends at the
                last head.
        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        Raises: BadVectors if the model gave NaN, inf or a zero vector.
        """
        card = self._card
        spec = card.spec
        prefix = spec.query_prefix if role == "query" else spec.document_prefix
        width = card.standard_dim if standard else 0
        heads = np.empty((len(texts), len(card.heads), card.head_dim), np.float32)
        vectors = np.empty((len(texts), width), np.float32)
        lengths = np.empty(len(texts), np.int64)
        with self._lock, torch.inference_mode(), DeviceCopies(heads, vectors) as arrivals:
            for start, rows in self._tokenized(texts, prefix):
                counts = [len(row) for row in rows]
                lengths[start : start + len(rows)] = counts
                for batch in self._path.batches(counts, self._batch_tokens):
                    for part, found in self._run(batch, rows, standard):
                        arrivals.take([start + index for index in part], *found)
        return Embeddings(_checked_heads(heads), _unit(vectors) if standard else vectors, lengths)

    def _tokenized(self, texts: Sequence[str], prefix: str) -> Iterator[tuple[int, Ids]]:
        """(start, ids) of each window of texts; the next is tokenized while one is run."""

        def ids(start: int) -> Ids:
            window = [prefix + text for text in texts[start : start + WINDOW_TEXTS]]
            return self._tokenizer.ids(window, self._card.max_tokens)

        starts = range(0, len(texts), WINDOW_TEXTS)
        if len(starts) == 1:
            yield 0, ids(0)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as ahead:
            coming = ahead.submit(ids, 0) if starts else None
            for start in starts:
                assert coming is not None
                rows = coming.result()
                coming = ahead.submit(ids, start + WINDOW_TEXTS)
                yield start, rows

    def _run(
        self, batch: list[int], rows: Ids, standard: bool
    ) -> Iterator[tuple[list[int], tuple[Tensor, Tensor | None]]]:
        """The batch's vectors, in halves when it does not fit into memory."""
        try:
            found = self._path.run([rows[index] for index in batch], standard)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or len(batch) < 2:
                raise
            found = None
        if found is not None:
            yield batch, found
            return
        # Outside the handler: its traceback would hold the tensors that did not fit.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._batch_tokens = max(1, sum(len(rows[index]) for index in batch) // 2)
        log.warning(
            "encoder_out_of_memory texts=%d batch_tokens=%d", len(batch), self._batch_tokens
        )
        half = len(batch) // 2
        yield from self._run(batch[:half], rows, standard)
        yield from self._run(batch[half:], rows, standard)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch has a type for accelerators only.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r}: {str(error).splitlines()[0]}",
            "auto, cpu or cuda, present on this machine",
            "check workers.device and `nvidia-smi`",
        ) from error
    return device


def _checked_heads(heads: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(heads, axis=2)
    bad = ~np.isfinite(norms) | (norms == 0.0)
    if bad.any():
        raise _bad_vectors(int(bad.any(axis=1).sum()), len(heads), "head")
    return heads


def _unit(standard: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(standard, axis=1, keepdims=True)
    bad = ~np.isfinite(norms) | (norms == 0.0)
    if bad.any():
        raise _bad_vectors(int(bad.sum()), len(standard), "standard")
    unit: NDArray[np.float32] = standard / norms
    return unit


def _bad_vectors(count: int, total: int, kind: str) -> BadVectors:
    return BadVectors(
        f"{count} of {total} texts have a {kind} vector that is zero, NaN or infinite",
        "finite vectors with a direction",
        "check the weights and encoder.dtype (float16 can overflow: try bfloat16 or float32)",
    )
