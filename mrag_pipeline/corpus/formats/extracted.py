"""What is extracted from a file of prose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document that a file of prose holds: all of the file, or a part of it."""

    text: str
    title: str = ""  # of the file; empty if it names none
    fields: Mapping[str, object] = field(default_factory=dict)  # of its front matter, its page
    part: str = ""  # which part of the file it is, such as "page=12"; empty: all of it
    heading: str = ""  # of the part; empty if it has none
    remarks: tuple[str, ...] = ()  # on what is left out, in words to be counted
