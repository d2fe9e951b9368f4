"""What commands print: results and JSON.

Texts of corpora, paths and errors are data: `Terminal` takes no string for markup and shows what
could steer a terminal as a sign. Style is given beside the text: `line(("bold", title), ...)`.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from io import TextIOWrapper
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mrag_pipeline.domain.remarks import types_told

# Control characters but tab and newline, as their signs (ESC as ␛); the rest as a
# replacement character: C1 controls, line separators, half surrogate pairs, tags, and what
# changes the direction of writing, which can show a text as another one.
_SIGNS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {
    code: "\ufffd"
    for codes in (
        *(range(0x7F, 0xA0), range(0x200E, 0x2010), range(0x2028, 0x202F)),
        *(range(0x2066, 0x206A), range(0xD800, 0xE000), range(0xE0000, 0xE0080), (0x61C, 0xFEFF)),
    )
    for code in codes
}


def visible(text: str) -> str:
    """The text with a sign in place of each character that steers a terminal or hides text."""
    return text.translate(_SIGNS)


class Terminal(Console):
    """A console that shows every string as it is: no markup, no emoji codes, no escapes."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments to print: rich's own control codes, and texts made visible."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


out = Terminal()
err = Terminal(stderr=True)


class _VisibleLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def use_utf8() -> None:
    """Starts the command again in Python's UTF-8 mode where the locale is plain ASCII.

    There, arguments, file names and texts beyond ASCII would be lost on their way in or out.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if is_ascii and os.environ.get("PYTHONUTF8") != "1":  # 1: it was tried, and -X utf8=0 won
        os.environ["PYTHONUTF8"] = "1"  # also for the processes that it starts
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def settle_streams() -> None:
    """What the terminal's encoding cannot show is replaced; log lines are made visible."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_VisibleLines())


def print_error(text: str) -> None:
    """Writes a message of the command's own to standard error, never wrapped."""
    sys.stderr.write(f"mrag: {visible(text)}\n")


def line(*parts: str | tuple[str, str]) -> Text:
    """One text of plain and styled parts; a styled one is (style, text)."""
    return Text.assemble(*(part if isinstance(part, str) else (part[1], part[0]) for part in parts))


def print_json(values: Any) -> None:
    """Writes one JSON value to standard output, in ASCII, and nothing else."""
    sys.stdout.write(json.dumps(values, indent=2, default=str) + "\n")


def size(num_bytes: float | None) -> str:
    """`1.2 GB`; "unknown" if None."""
    if num_bytes is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000 or unit == "TB":
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError


def seconds_by_phase(seconds: Mapping[str, float]) -> str:
    """`plan 0.5, embed 12.1`."""
    return ", ".join(f"{phase} {value}" for phase, value in seconds.items())


def print_facts(facts: Mapping[str, Any]) -> None:
    """A line for each fact: its name and its value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(line(("bold", name)), str(value))
    out.print(table)


def print_remarks(
    remarks: Mapping[str, int], reading: Mapping[str, Any], of: str = "documents"
) -> None:
    """What is to be told of how the corpus was read, and of some of its documents.

    Args:
        remarks: how many documents, by what is told of them; reading: how fields were read.
        of: what the numbers count.
    """
    types = types_told(reading.get("types", {}))
    if types:
        out.print(line(("yellow", "note"), f" fields read as {types} (corpus.types sets others)"))
    for text, number in sorted(remarks.items(), key=lambda item: -item[1]):
        out.print(line(("yellow", "note"), f" {text} ({of}: {number:,})"))
