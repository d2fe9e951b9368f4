"""Links of Markdown pages, as the repository has them, turned into links of the site.

A page is read in two places: in the repository, where a link may lead to any file, and on the
site, which has the pages of `docs/` and those of `PLACES`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Pages outside docs/, and where the site has them.
PLACES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "report.md",
    "deploy/README.md": "deploy.md",
}
# Pictures outside docs/, likewise.
PICTURES = {"benchmarks/figures/verdicts.png": "images/verdicts.png"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)


def for_the_site(markdown: str, source: str, place: str) -> str:
    """The page with links that work on the site; a link to a file that it lacks becomes plain text.

    Args:
        source: the page's path in the repository.
        place: its path on the site, below docs/.
    """

    def replaced(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        if "://" in link or link.startswith(("#", "mailto:")):
            return match.group()
        target = _place_of(link, source)
        if target is None:
            return text
        path, anchor = target
        return f"{mark}[{text}]({posixpath.relpath(path, posixpath.dirname(place) or '.')}{anchor})"

    return outside_fences(markdown, lambda part: _LINK.sub(replaced, part))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """The page with `change` applied to all but its code blocks."""
    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def _place_of(link: str, source: str) -> tuple[str, str] | None:
    """Where the site has what a page of the repository links to; None if nowhere."""
    path, hash_, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if (ROOT / target).is_dir():
        target = posixpath.join(target, "README.md")
    places = PLACES | PICTURES
    if target in places:
        return places[target], hash_ + anchor
    if target.startswith("docs/") and not target.endswith(".py"):
        return target.removeprefix("docs/"), hash_ + anchor
    return None
