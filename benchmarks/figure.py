"""Entries of a figures file, from what was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Figure = dict[str, float | str]
SCALE = Path(__file__).parent / "figures" / "scale.json"  # scale_figures.py has its parts
PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"


def figure(values: Sequence[float], unit: str, digits: int = 3) -> Figure:
    """The median of the rounds, with the lowest and the highest."""
    return {
        "value": round(statistics.median(values), digits),
        "low": round(min(values), digits),
        "high": round(max(values), digits),
        "unit": unit,
    }


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, with the lowest and the highest, for people."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} [{low:{form}}, {high:{form}}]"


def keep(
    path: Path, figures: Mapping[str, Mapping[str, float | str]], instead_of: str | None = None
) -> None:
    """Writes the figures into the file; those of other names keep their values and places.

    A process that is killed meanwhile leaves the file as it was.

    Args:
        instead_of: figures whose names begin so are dropped, if they are not measured again.
    """
    kept = json.loads(path.read_text()) if path.exists() else {}
    if instead_of is not None:
        is_old = {name for name in kept if name.startswith(instead_of)} - figures.keys()
        kept = {name: one for name, one in kept.items() if name not in is_old}
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(kept | dict(figures), indent=2) + "\n")
    unfinished.replace(path)


def put_in(page: Path, mark: str, text: str) -> None:
    """Writes the text between `<!-- mark: begin -->` and `<!-- mark: end -->` of a page.

    Raises: AssertionError if the page lacks one of them; it stays as it was.
    """
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, has_begin, rest = page.read_text("utf-8").partition(begin)
    assert has_begin, f"{page} has no {begin}"
    _, has_end, after = rest.partition(end)
    assert has_end, f"{page} has no {end} after {begin}"
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", "utf-8")


def table(figures: Mapping[str, Mapping[str, float | str]]) -> Iterator[str]:
    """Markdown, a row for each figure."""
    yield "| what | median | lowest to highest | unit |"
    yield "|---|---:|---|---|"
    for name, one in figures.items():
        spread = "" if one["low"] == one["high"] else f"{one['low']} to {one['high']}"
        yield f"| {name} | {one['value']} | {spread} | {one['unit']} |"
