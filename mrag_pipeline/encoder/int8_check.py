"""Switches an encoder to int8, if its vectors stay close to float32's.

Shape legend: N texts, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mrag_pipeline.domain.packing import padded_batches
from mrag_pipeline.encoder.forward_paths import ForwardPath, Rows
from mrag_pipeline.encoder.model_errors import MODEL_ERRORS, type_and_line
from mrag_pipeline.encoder.quantized_linears import QuantizedLinears
from mrag_pipeline.errors import ConfigError

log = logging.getLogger(__name__)

# Mean cosine with float32's vectors over texts that no range was measured on. At 0.98 three of ten
# nearest neighbours are others (decision 120, with MiniLM's).
MIN_COSINE = 0.98
# The same of the worst head: the mean of 12 would hide one at 0.8.
MIN_HEAD_COSINE = 0.96
# Texts of the longest batch; few, so that a large model's first batch is not its largest.
_BATCH_TOKENS = 2_048


class Int8Path:
    """A path whose linear layers run in int8."""

    def __init__(self, path: ForwardPath, linears: QuantizedLinears) -> None:
        self.name = path.name
        self._path = path
        self._linears = linears

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`."""
        return self._path.batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32; keeps nothing of the pass."""
        try:
            return self._path.run(rows, want_standard)
        finally:
            self._linears.forget()


def use_int8(model: Any, path: ForwardPath, linears: QuantizedLinears, rows: Rows) -> ForwardPath:
    """Switches the model's linear layers to int8 and logs how close its vectors are.

    Args:
        rows: token ids of the texts that the vectors are compared on.
    Returns: the path, in int8.
    Raises: ConfigError if the model does not run in int8, or its vectors are too far from
        float32's.
    """
    family = model.config.model_type
    expected = _vectors(path, rows)
    path = Int8Path(path, linears)
    try:
        linears.on()
        actual = _vectors(path, rows)
    except MODEL_ERRORS as error:
        raise _refused(family, f"does not run: {type_and_line(error)}") from error
    of_heads, of_standard = (
        cosine_similarity(ours, theirs, dim=-1).mean(0)  # (H,) and a single number
        for ours, theirs in zip(actual, expected, strict=True)
    )
    heads, worst, standard = float(of_heads.mean()), float(of_heads.min()), float(of_standard)
    # In this way NaN is refused too.
    if not (min(heads, standard) >= MIN_COSINE and worst >= MIN_HEAD_COSINE):
        cosines = f"heads {heads:.3f}, the worst head {worst:.3f}, standard {standard:.3f}"
        raise _refused(family, f"gives vectors far from float32's (mean cosine: {cosines})")
    log.info(
        "encoder_int8 family=%s linears=%d heads_cosine=%.4f worst_head_cosine=%.4f "
        "standard_cosine=%.4f",
        *(family, linears.num_linears, heads, worst, standard),
    )
    return path


def _refused(family: str, found: str) -> ConfigError:
    return ConfigError(
        f"encoder.dtype = 'int8' with {family}, which {found}",
        f"a model whose int8 vectors have a mean cosine of {MIN_COSINE} with float32's, and of "
        f"{MIN_HEAD_COSINE} in every head",
        "use encoder.dtype = 'float32' (or 'bfloat16' on a CPU that multiplies in it), or another "
        "model",
    )


def _vectors(path: ForwardPath, rows: Rows) -> tuple[Tensor, Tensor]:
    """(N, H, D) and (N, E), in the order of the batches."""
    heads, standards = [], []
    with torch.inference_mode():
        for batch in padded_batches([len(row) for row in rows], _BATCH_TOKENS):
            part, standard = path.run([rows[index] for index in batch], True)
            assert standard is not None
            heads.append(part)
            standards.append(standard)
    return torch.cat(heads), torch.cat(standards)
