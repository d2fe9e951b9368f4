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
from mrag_pipeline.encoder.forward_paths import ForwardPath
from mrag_pipeline.encoder.quantized_linears import QuantizedLinears
from mrag_pipeline.errors import ConfigError

log = logging.getLogger(__name__)

# Mean cosine with float32's vectors over the calibration texts; MiniLM's is 0.999. At 0.98 three of
# ten nearest neighbours are others (decision 120).
MIN_COSINE = 0.98
# Texts of the longest batch; few, so that a large model's first batch is not its largest.
_BATCH_TOKENS = 2_048


def use_int8(
    model: Any, path: ForwardPath, linears: QuantizedLinears, rows: Sequence[Sequence[int]]
) -> None:
    """Switches the model's linear layers to int8 and logs how close its vectors are.

    Args:
        rows: token ids of the texts that the vectors are compared on.
    Raises: ConfigError if the vectors are too far from float32's.
    """
    family = model.config.model_type
    expected = _vectors(path, rows)
    linears.on()
    try:
        actual = _vectors(path, rows)
    except RuntimeError as error:
        raise _refused(family, f"does not run: {(str(error).splitlines() or [''])[0]}") from error
    heads, standard = (
        float(cosine_similarity(ours, theirs, dim=-1).mean())
        for ours, theirs in zip(actual, expected, strict=True)
    )
    if not min(heads, standard) >= MIN_COSINE:  # NaN is refused too
        cosines = f"heads {heads:.3f}, standard {standard:.3f}"
        raise _refused(family, f"gives vectors far from float32's (mean cosine: {cosines})")
    log.info(
        "encoder_int8 family=%s linears=%d heads_cosine=%.4f standard_cosine=%.4f",
        *(family, linears.num_linears, heads, standard),
    )


def _refused(family: str, found: str) -> ConfigError:
    return ConfigError(
        f"encoder.dtype = 'int8' with {family}, which {found}",
        f"a model whose int8 vectors have a mean cosine of {MIN_COSINE} with float32's",
        "use encoder.dtype = 'float32' (or 'bfloat16' on a CPU that multiplies in it), or another "
        "model",
    )


def _vectors(path: ForwardPath, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(N, H, D) and (N, E), in the order of the batches."""
    heads, standards = [], []
    with torch.inference_mode():
        for batch in padded_batches([len(row) for row in rows], _BATCH_TOKENS):
            part, standard = path.run([rows[index] for index in batch], True)
            assert standard is not None
            heads.append(part)
            standards.append(standard)
    return torch.cat(heads), torch.cat(standards)
