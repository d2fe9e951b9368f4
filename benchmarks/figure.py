"""Entries of a figures file, from what was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path


def figure(values: Sequence[float], unit: str, digits: int = 3) -> dict[str, float | str]:
    """The median of the rounds, with the lowest and the highest."""
    return {
        "value": round(statistics.median(values), digits),
        "low": round(min(values), digits),
        "high": round(max(values), digits),
        "unit": unit,
    }


def keep(path: Path, figures: Mapping[str, Mapping[str, float | str]]) -> None:
    """Writes the figures into the file; those of other names keep their values and places."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(kept | dict(figures), indent=2) + "\n")
