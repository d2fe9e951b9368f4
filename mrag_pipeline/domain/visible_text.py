"""Whether a text shows anything."""

from __future__ import annotations

import re

# Spaces, controls, and what the Unicode Standard calls default ignorable: joiners, marks of
# direction, variation selectors, fillers, tags; and the braille pattern without dots.
_INVISIBLE = (
    r"\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(f"[^{_INVISIBLE}]")


def is_visible_text(text: str) -> bool:
    """Whether a reader would see anything of it."""
    return _VISIBLE.search(text) is not None
