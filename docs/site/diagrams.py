"""Diagrams as SVG, drawn from the text files in docs/diagrams/.

    python -m docs.site.diagrams      # writes docs/images/diagram-*.svg anew

A text file places boxes in rows and names what leads from one to another:

    title Three words that a screen reader says
    row corpus plan .                  (a dot leaves a place empty)
    box corpus | Corpus | files, folders, tables
    edge corpus plan | shards
    group Driver | plan

An edge leaves a box at the side that faces the other one; a group is a frame around its boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "diagrams"
IMAGES = Path(__file__).resolve().parents[1] / "images"

# Pixels. A box's lines of text are centred; 13 px text is about 6.6 px a character.
BOX_WIDTH, BOX_HEIGHT = 176, 66
GAP_X, GAP_Y = 54, 58
MARGIN = 18
LINE_HEIGHT = 16
Point = tuple[float, float]

STYLE = """
.diagram text { font: 13px system-ui, sans-serif; fill: var(--diagram-ink, #1f2330); text-anchor: middle; }
.diagram .name { font-weight: 600; }
.diagram .label, .diagram .group-name { font-size: 12px; fill: var(--diagram-line, #555a6b); }
.diagram .box { fill: var(--diagram-card, #f3f4f9); stroke: var(--diagram-line, #555a6b); }
.diagram .group { fill: none; stroke: var(--diagram-accent, #3f51b5); stroke-dasharray: 5 4; }
.diagram .edge { fill: none; stroke: var(--diagram-accent, #3f51b5); stroke-width: 1.6; }
.diagram .tip { fill: var(--diagram-accent, #3f51b5); }
.diagram .group-name { text-anchor: start; }
@media (prefers-color-scheme: dark) { .diagram.alone { --diagram-ink: #e8eaf2; --diagram-line: #a9aec0;
 --diagram-card: #262a38; --diagram-accent: #8c9eff; } }
""".strip()


@dataclass
class Drawing:
    """A diagram as its text file says."""

    title: str = ""
    rows: list[list[str]] = field(default_factory=list)
    boxes: dict[str, list[str]] = field(default_factory=dict)  # the name, then further lines
    edges: list[tuple[str, str, str]] = field(default_factory=list)  # from, to, label
    groups: list[tuple[str, list[str]]] = field(default_factory=list)

    def place(self, box: str) -> tuple[int, int]:
        """A box's left and upper side, in pixels."""
        for number, row in enumerate(self.rows):
            if box in row:
                x = MARGIN + row.index(box) * (BOX_WIDTH + GAP_X)
                return x, MARGIN + number * (BOX_HEIGHT + GAP_Y)
        raise ValueError(f"{box} is in no row")


def read(text: str) -> Drawing:
    """The drawing that a text file describes.

    Raises: ValueError for a line that is none of the forms above.
    """
    drawing = Drawing()
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        names, *parts = (part.strip() for part in rest.split("|"))
        if word == "title":
            drawing.title = rest
        elif word == "row":
            drawing.rows.append(rest.split())
        elif word == "box":
            drawing.boxes[names] = parts
        elif word == "edge":
            start, end = names.split()
            drawing.edges.append((start, end, parts[0] if parts else ""))
        elif word == "group":
            drawing.groups.append((names, parts[0].split()))
        else:
            raise ValueError(f"{line!r}: neither title, row, box, edge nor group")
    return drawing


def svg(drawing: Drawing) -> str:
    """The drawing; the same text gives the same bytes."""
    width = 2 * MARGIN - GAP_X + max(map(len, drawing.rows)) * (BOX_WIDTH + GAP_X)
    height = 2 * MARGIN + 14 - GAP_Y + len(drawing.rows) * (BOX_HEIGHT + GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram alone" role="img" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(drawing.title)}</title>",
        f"<style>{STYLE}</style>",
        *(_group(drawing, name, boxes) for name, boxes in drawing.groups),
        *(part for edge in drawing.edges for part in _edge(drawing, *edge)),
        *(part for box in drawing.boxes for part in _box(drawing, box)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def figure(name: str, alt: str) -> str:
    """The drawing for a page of the site: in the page itself, in the colours of its theme."""
    drawn = (IMAGES / f"{name}.svg").read_text("utf-8").replace("diagram alone", "diagram")
    return (
        f'<figure class="diagram" aria-label="{escape(alt)}">{drawn.replace(chr(10), "")}</figure>'
    )


def _box(drawing: Drawing, box: str) -> Iterator[str]:
    x, y = drawing.place(box)
    yield f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
    lines = drawing.boxes[box]
    first = y + BOX_HEIGHT / 2 - (len(lines) - 1) * LINE_HEIGHT / 2 + 4.5
    for number, line in enumerate(lines):
        kind = ' class="name"' if number == 0 else ""
        yield (
            f'<text{kind} x="{x + BOX_WIDTH / 2:g}" y="{first + number * LINE_HEIGHT:g}">'
            f"{escape(line)}</text>"
        )


def _edge(drawing: Drawing, start: str, end: str, label: str) -> Iterator[str]:
    x1, y1 = drawing.place(start)
    x2, y2 = drawing.place(end)
    middle_x, middle_y = BOX_WIDTH / 2, BOX_HEIGHT / 2
    if y1 == y2:  # along a row
        right = x2 > x1
        begin: Point = (x1 + BOX_WIDTH if right else x1, y1 + middle_y)
        stop: Point = (x2 if right else x2 + BOX_WIDTH, y2 + middle_y)
        path = [begin, stop]
        at = ((begin[0] + stop[0]) / 2, begin[1] - 7)
    else:
        down = y2 > y1
        begin = (x1 + middle_x, y1 + BOX_HEIGHT if down else y1)
        stop = (x2 + middle_x, y2 if down else y2 + BOX_HEIGHT)
        bend = stop[1] - GAP_Y / 2 if down else stop[1] + GAP_Y / 2
        path = [begin, (begin[0], bend), (stop[0], bend), stop]
        at = ((begin[0] + stop[0]) / 2, bend - 6) if x1 != x2 else (begin[0] + 8, bend + 4)
    points = " L".join(f"{x:g} {y:g}" for x, y in path)
    yield f'<path class="edge" d="M{points}"/>'
    yield _tip(path[-2], path[-1])
    if label:
        beside = ' style="text-anchor: start"' if x1 == x2 else ""
        yield f'<text class="label"{beside} x="{at[0]:g}" y="{at[1]:g}">{escape(label)}</text>'


def _tip(before: Point, end: Point) -> str:
    """An arrow's tip at the end, pointing away from the point before it."""
    (x0, y0), (x, y) = before, end
    length = max(abs(x - x0), abs(y - y0)) or 1
    along = ((x - x0) / length, (y - y0) / length)
    across = (-along[1], along[0])
    corners = [
        (x, y),
        *(
            (x - 9 * along[0] + s * across[0], y - 9 * along[1] + s * across[1])
            for s in (4.5, -4.5)
        ),
    ]
    return f'<path class="tip" d="M{" L".join(f"{a:g} {b:g}" for a, b in corners)} Z"/>'


def _group(drawing: Drawing, name: str, boxes: list[str]) -> str:
    places = [drawing.place(box) for box in boxes]
    left, top = min(x for x, _ in places) - 12, min(y for _, y in places) - 12
    right = max(x for x, _ in places) + BOX_WIDTH + 12
    bottom = max(y for _, y in places) + BOX_HEIGHT + 24
    return (
        f'<rect class="group" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}" rx="12"/>'
        f'<text class="group-name" x="{left + 10}" y="{bottom - 8}">{escape(name)}</text>'
    )


def drawn() -> Iterator[tuple[Path, str]]:
    """Every diagram: its file, and what should be in it."""
    for path in sorted(FOLDER.glob("*.txt")):
        yield IMAGES / f"diagram-{path.stem}.svg", svg(read(path.read_text("utf-8")))


if __name__ == "__main__":
    for file, content in drawn():
        file.write_text(content, "utf-8")
        print(file)
