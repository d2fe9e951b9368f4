"""Builds a page of HTML from elements, so that no text can become markup.

A page needs nothing from elsewhere and runs no script: its style is inside, and its content
security policy allows nothing else.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Part = ET.Element | str


def element(tag: str, *parts: Part, **attributes: str) -> ET.Element:
    """An element with these texts and elements in it.

    Args:
        attributes: by name; a trailing underscore is left out (`class_`).
    """
    made = ET.Element(tag, {name.rstrip("_"): _text(own) for name, own in attributes.items()})
    for part in parts:
        if isinstance(part, ET.Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _text(part)
        else:
            made.text = (made.text or "") + _text(part)
    return made


def data(text: str) -> ET.Element:
    """A text that somebody else wrote: its direction of writing does not spread."""
    return element("bdi", text)


def table(
    caption: str, header: Sequence[Part], rows: Iterable[Sequence[Part]], class_: str = ""
) -> ET.Element:
    """A table whose first column names the rows; it scrolls sideways where it is too wide."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = element("tbody")
    for name, *cells in rows:
        first = element("th", name, scope="row")
        body.append(element("tr", first, *(element("td", cell) for cell in cells)))
    own = element("table", element("thead", head), body, class_=class_)
    # The caption stands outside of what scrolls, so that it wraps to the screen.
    labelled = {"tabindex": "0", "role": "region", "aria-label": caption}
    return element(
        "figure",
        element("figcaption", caption),
        element("div", own, class_="wide", **labelled),
    )


def heat_map(
    caption: str,
    names: Sequence[str],
    columns: Sequence[str],
    matrix: Sequence[Sequence[float]],
    *,
    skip_diagonal: bool = False,
) -> ET.Element:
    """A matrix as a table whose cells are darker the higher they are; numbers in them.

    Args:
        skip_diagonal: it is 1 by definition and shown as a dot.
    """
    shown = [
        value
        for row, values in enumerate(matrix)
        for column, value in enumerate(values)
        if not (skip_diagonal and row == column)
    ]
    highest = max(shown, default=0.0) or 1.0
    own = table(caption, ["", *columns], ([name] for name in names), class_="heat")
    for row, line in enumerate(own.iter("tr")):
        if row == 0:
            continue
        for column, value in enumerate(matrix[row - 1]):
            if skip_diagonal and column == row - 1:
                line.append(element("td", "·"))
                continue
            heat = f"--heat: {100 * max(0.0, value) / highest:.0f}%"
            text = f"{value:.2f}".removeprefix("0")
            title = f"{names[row - 1]}, {columns[column]}: {value:.3f}"
            line.append(element("td", text, style=heat, title=title))
    return own


def page(title: str, style: str, *parts: ET.Element) -> str:
    """The whole page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    root = element("html", head, element("body", element("main", *parts)), lang="en")
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _text(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
