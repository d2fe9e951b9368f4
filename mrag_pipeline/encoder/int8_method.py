"""What decides an int8 encoder's vectors beside the model: the texts and numbers of the method.

Their hash is part of the encoder's identity, as the hash of the weights is. So an index that was
built by another method is refused, and an ingest by another one does not resume it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mrag_pipeline.domain.stored_format import digest
from mrag_pipeline.encoder.calibration_texts import CALIBRATION_TEXTS

# Of a text that ranges are measured on: longer ones would only take longer.
CALIBRATION_TOKENS = 256
# How much of a channel's range is moved into the weights: 0.5 to 1 were measured (decision 120).
MOVED = 0.8
# Of a scale: steps of an eighth of an octave.
SCALE_STEPS = 8
# One channel of this many is kept in float32 between the layers of an MLP, at least 16.
CHANNELS_FOR_AN_OUTLIER = 96
MIN_OUTLIERS = 16
# Add one when the code computes other vectors from the same texts and numbers.
REVISION = 2

NUMBERS: Mapping[str, float] = MappingProxyType(
    {
        "calibration_tokens": CALIBRATION_TOKENS,
        "moved": MOVED,
        "scale_steps": SCALE_STEPS,
        "channels_for_an_outlier": CHANNELS_FOR_AN_OUTLIER,
        "min_outliers": MIN_OUTLIERS,
        "revision": REVISION,
    }
)


def method_hash(
    texts: Sequence[str] = CALIBRATION_TEXTS, numbers: Mapping[str, float] = NUMBERS
) -> str:
    """32 hex digits; another letter or number gives others."""
    return digest({"texts": list(texts), "numbers": dict(numbers)})
