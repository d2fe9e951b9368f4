"""The figures of `vote_ideas.py` as the tables that docs/decisions/0128 shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Figures = Mapping[str, Mapping[str, float | str]]

SETS = {
    "cranfield": "nDCG@10",
    "hotpotqa-100": "nDCG@10",
    "wikipedia-v1": "success@n",
    "legal-v1": "success@n",
    "python-questions": "success@n",
}
ALL = "all"
KINDS = ("one subject", "two or three subjects")
_KEPT = ": kept of the first 10, "
_TIME = ": time of searching vectors, a question of "
_STANDARD_TIME = ": time of the standard vector's search, a question of "


def tables(figures: Figures) -> Iterator[str]:
    """Markdown: what is lost and saved, differences, heads left out, encoders, repeats."""
    ways = list(dict.fromkeys(name.partition(_KEPT)[0] for name in figures if _KEPT in name))
    times = [f"time, {kind}" for kind in KINDS]
    rows = []
    for way in ways:
        kept = [_number(figures, f"{way}{_KEPT}{name}") for name in (*SETS, ALL)]
        rows.append([way, *kept, *(_spread(figures, f"{way}{_TIME}{kind}") for kind in KINDS)])
    yield _table(["kept of the first 10", *SETS, "20,000 chunks", *times], rows)
    rows = []
    for way in ways:
        labels = [f"{way}: {SETS[name]} beside the default's, {name}" for name in SETS]
        rows.append([way, *(_spread(figures, label, signed=True) for label in labels)])
    yield _table(["difference", *(f"{name}, {SETS[name]}" for name in SETS)], rows)
    marks = [name.rpartition(", ")[0] for name in figures if "left out, " in name]
    rows = [
        [mark, *(_number(figures, f"{mark}, {name}") for name in (*SETS, ALL))]
        for mark in dict.fromkeys(marks)
    ]
    yield _table(["share", *SETS, "20,000 chunks"], rows)
    marks = [name.partition(_STANDARD_TIME)[0] for name in figures if _STANDARD_TIME in name]
    rows = [
        [mark, *(_spread(figures, f"{mark}{_STANDARD_TIME}{kind}") for kind in KINDS)]
        for mark in dict.fromkeys(marks)
    ]
    yield _table(["the standard vector's search alone", *times], rows)
    parts = (
        "float32: time of embedding a question of",
        "bfloat16: time of embedding a question of",
        "int8: time of embedding a question of",
        "default: time of searching vectors, a question of",
        "default: all after embedding, a question of",
        "heads only for the windows that count: all after embedding, a question of",
    )
    measured = [part for part in parts if any(name.startswith(part) for name in figures)]
    rows = [[part, *(_spread(figures, f"{part} {kind}") for kind in KINDS)] for part in measured]
    yield _table(["CPU time", *KINDS], rows)
    sets = [name for name in SETS if f"default{_TIME}{name}" in figures]
    if sets:  # one way was measured
        rows = [
            [part, *(_spread(figures, f"{part} {name}") for name in sets)]
            for part in _timed(figures, sets[0])
        ]
        yield _table(["CPU time", *(f"questions of {name}" for name in sets)], rows)
    marks = [name.rpartition(", ")[0] for name in figures if name.startswith("windows ")]
    rows = [
        [mark, *(_number(figures, f"{mark}, {name}") for name in (*SETS, ALL))]
        for mark in dict.fromkeys(marks)
    ]
    yield _table(["windows", *SETS, "made questions"], rows)


def _timed(figures: Figures, kind: str) -> list[str]:
    """What was timed of questions of that kind, with `a question of` at the end."""
    return [name.removesuffix(f" {kind}") for name in figures if name.endswith(f" of {kind}")]


def _number(figures: Figures, name: str) -> str:
    return f"{figures[name]['value']:.3f}" if name in figures else ""


def _spread(figures: Figures, name: str, signed: bool = False) -> str:
    if name not in figures:
        return ""
    one = figures[name]
    unit = " ms" if one["unit"] == "ms" else ""
    form = "{:+.3f}" if signed else "{:.2f}"
    value, low, high = (form.format(one[key]) for key in ("value", "low", "high"))
    return f"{value}{unit} [{low}, {high}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(header) - 1)}", *lines[1:]])
