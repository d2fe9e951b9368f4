"""One entry of a figures file, from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def figure(values: Sequence[float], unit: str, digits: int = 3) -> dict[str, float | str]:
    """The median of the rounds, with the lowest and the highest."""
    return {
        "value": round(statistics.median(values), digits),
        "low": round(min(values), digits),
        "high": round(max(values), digits),
        "unit": unit,
    }
