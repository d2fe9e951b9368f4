"""Turns texts into head embeddings with a transformers model, in one forward pass.

Shape legend: N texts, B texts of a batch, T tokens, H heads (of all layers read),
D head dimension, E standard width.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
import transformers
from torch import Tensor

from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role
from mrag_pipeline.encoder.calibration_texts import CALIBRATION_TEXTS, CHECK_TEXTS
from mrag_pipeline.encoder.checked_vectors import checked_heads, unit_vectors
from mrag_pipeline.encoder.device import find_device
from mrag_pipeline.encoder.device_copies import DeviceCopies
from mrag_pipeline.encoder.encoder_card import card_of, resolved_poolings
from mrag_pipeline.encoder.forward_paths import ForwardPath, PaddedPath, PaddingSide
from mrag_pipeline.encoder.head_capture import Capture, family_of, find_capture
from mrag_pipeline.encoder.int8_check import use_int8
from mrag_pipeline.encoder.int8_method import CALIBRATION_TOKENS, method_hash
from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_loading import load_model
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.path_choice import choose_path
from mrag_pipeline.encoder.quantized_linears import QuantizedLinears, check_int8
from mrag_pipeline.encoder.readout import Readout
from mrag_pipeline.encoder.sentence_folder import sentence_settings
from mrag_pipeline.encoder.sentence_head import sentence_head
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.settings.encoder import EncoderSpec

log = logging.getLogger(__name__)

Ids = list[list[int]]

# Texts that are tokenized and sorted by length together, while the window before is run.
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
    """The encoder that the spec describes, ready to encode.

    Args:
        device: auto (a GPU if there is one), cpu, cuda, or cuda:1 for the second GPU.
        batch_tokens: most tokens in one forward pass, padding counted.
        threads: of torch, for the whole process; 0 leaves the number unchanged.
        packed: False keeps the padded path and the model's own linear layers, even where
            faster ones give the same vectors; int8 stays int8.
        padding_side: of the padded path.
    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
    """
    started = time.perf_counter()
    if threads > 0:
        torch.set_num_threads(threads)
    folder = find_model(spec)
    torch_device = find_device(device)
    if torch_device.type == "cpu" and spec.dtype == "bfloat16" and not multiplies_bfloat16():
        log.warning(
            "encoder_slow dtype=bfloat16: this CPU has no bfloat16 products; "
            "encoder.dtype = 'float32' is several times faster"
        )
    is_int8 = spec.dtype == "int8"
    if is_int8:
        check_int8(torch_device)
    model = load_model(folder, torch.float32 if is_int8 else getattr(torch, spec.dtype))
    model.to(torch_device)  # type: ignore[arg-type]
    settings = sentence_settings(folder)
    tokenizer = TextTokenizer(
        folder.transformer, model.config.model_type, lower_case=settings.lower_case
    )
    capture = find_capture(model, model.config, spec.layers)
    family = family_of(model, capture)
    head = None
    if spec.standard_pooling == "auto":
        head = sentence_head(folder, int(model.config.hidden_size))
    poolings = resolved_poolings(spec, family, settings)
    width = 0 if head is None else head.width
    card = card_of(
        spec, folder, model.config, family, capture, tokenizer, settings, width, poolings
    )
    if is_int8:
        card = replace(card, int8=method_hash())
    head_on_device = None if head is None else head.to(torch_device)
    readout = Readout(model, capture, family, *poolings, head_on_device)
    first_position = int(model.config.pad_token_id) + 1 if family.positions_after_pad else 0
    padded = PaddedPath(model, readout, tokenizer.pad_id, first_position, padding_side)
    # Before the attention is replaced: the ranges are those of the model as its authors wrote it.
    linears, longest = None, min(CALIBRATION_TOKENS, card.max_tokens)
    if is_int8:
        linears = QuantizedLinears(model, tokenizer.ids(list(CALIBRATION_TEXTS), longest))
    path = choose_path(
        model, readout, padded, first_position, card.max_tokens, packed, fast_linears=not is_int8
    )
    if linears is not None:
        path = use_int8(model, path, linears, tokenizer.ids(list(CHECK_TEXTS), longest))
    log.info(
        "encoder_loaded model=%s family=%s layers=%s heads=%d head_dim=%d max_tokens=%d "
        "pooling=%s standard=%s path=%s device=%s dtype=%s seconds=%.1f",
        *(spec.model, card.family, capture.layers, len(card.heads), card.head_dim),
        *(
            card.max_tokens,
            card.pooling,
            card.standard_pooling,
            path.name,
            torch_device,
            spec.dtype,
        ),
        time.perf_counter() - started,
    )
    return TransformerEncoder(card, model, tokenizer, capture, path, batch_tokens)


class TransformerEncoder:
    """An `Encoder` over a transformers model. Threads may share it: passes run one at a time."""

    def __init__(
        self,
        card: EncoderCard,
        model: transformers.PreTrainedModel,
        tokenizer: TextTokenizer,
        capture: Capture,
        path: ForwardPath,
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
        """How texts are run: packed, padded or one at a time."""
        return self._path.name

    @property
    def capture(self) -> Capture:
        """The projections whose input is read."""
        return self._capture

    @property
    def batch_tokens(self) -> int:
        """Most tokens in a forward pass; halved each time memory runs out."""
        return self._batch_tokens

    def use_threads(self, threads: int) -> None:
        """Sets torch's number of threads; must be called in the thread that encodes."""
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    def encode(self, texts: Sequence[str], role: Role, *, standard: bool = True) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, with the role's prefix.

        Args:
            standard: False skips the standard embedding (E is 0): the pass ends at the last
                head.
        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        Raises: BadVectors if the model returned NaN, inf or a zero vector.
        """
        card = self._card
        spec = card.spec
        prefix = spec.query_prefix if role == "query" else spec.document_prefix
        width = card.standard_dim if standard else 0
        heads = np.empty((len(texts), len(card.heads), card.head_dim), np.float32)
        vectors = np.empty((len(texts), width), np.float32)
        lengths = np.empty(len(texts), np.int64)
        with self._lock, torch.inference_mode(), DeviceCopies(heads, vectors) as copies:
            for start, rows in self._tokenized(texts, prefix):
                counts = [len(row) for row in rows]
                lengths[start : start + len(rows)] = counts
                for batch in self._path.batches(counts, self._batch_tokens):
                    for indices, batch_vectors in self._run(batch, rows, standard):
                        copies.take([start + index for index in indices], *batch_vectors)
        return Embeddings(
            checked_heads(heads), unit_vectors(vectors) if standard else vectors, lengths
        )

    def _tokenized(self, texts: Sequence[str], prefix: str) -> Iterator[tuple[int, Ids]]:
        """(start, ids) of each window of texts; the next is tokenized while one runs."""

        def ids(start: int) -> Ids:
            window = [prefix + text for text in texts[start : start + WINDOW_TEXTS]]
            return self._tokenizer.ids(window, self._card.max_tokens)

        starts = range(0, len(texts), WINDOW_TEXTS)
        if len(starts) == 1:
            yield 0, ids(0)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as executor:
            pending = executor.submit(ids, 0) if starts else None
            for start in starts:
                assert pending is not None
                rows = pending.result()
                pending = executor.submit(ids, start + WINDOW_TEXTS)
                yield start, rows

    def _run(
        self, batch: list[int], rows: Ids, standard: bool
    ) -> Iterator[tuple[list[int], tuple[Tensor, Tensor | None]]]:
        """The batch's vectors, in halves if it does not fit into memory."""
        try:
            vectors = self._path.run([rows[index] for index in batch], standard)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or len(batch) < 2:
                raise
            vectors = None
        if vectors is not None:
            yield batch, vectors
            return
        # Outside the handler, whose traceback would keep the tensors that did not fit.
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
    # torch has its own error type for accelerators only.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
