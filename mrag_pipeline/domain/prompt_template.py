"""What a chat model is asked, as a text with places: {passages}, {unsourced}, {question}.

Braces around anything but one word are text, so that a prompt can show JSON.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from mrag_pipeline.errors import ConfigError

PLACES = ("passages", "unsourced", "question")
NEEDED = ("passages", "question")
_PLACE = re.compile(r"\{(\w+)\}")


def check_template(template: str, where: str) -> None:
    """Refuses a template that names an unknown place, or lacks one that is needed.

    Args:
        where: the template's key, for the error.
    Raises: ConfigError.
    """
    named = _PLACE.findall(template)
    for name in named:
        if name not in PLACES:
            close = difflib.get_close_matches(name, PLACES, 1)
            raise ConfigError(
                f"{where} has the place {{{name}}}",
                f"one of {', '.join(f'{{{place}}}' for place in PLACES)}",
                f"did you mean {{{close[0]}}}?" if close else "write it without the braces",
            )
    for name in NEEDED:
        if name not in named:
            raise ConfigError(
                f"{where} has no {{{name}}}",
                f"a text with {{{name}}} in it",
                f"add {{{name}}}, or take the line out: `mrag init` writes the default",
            )


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with the values in their places; what a value says of places stays text.

    A paragraph of the template (between empty lines) whose place has an empty value is left out.
    """
    paragraphs = re.split(r"\n[ \t]*\n", template)
    kept = [
        _PLACE.sub(lambda place: values.get(place[1], place[0]), paragraph)
        for paragraph in paragraphs
        if all(values.get(name, name) for name in _PLACE.findall(paragraph))
    ]
    return "\n\n".join(kept)
