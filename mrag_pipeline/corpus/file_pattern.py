"""Which files a glob in the corpus's URI, or in `include`, selects."""

from __future__ import annotations

import os
import re

from wcmatch import glob

from mrag_pipeline.filesystems.location import URI

_WILDCARD_IN_URI = re.compile(r"[*\[{]")  # no "?": in a URI it starts the filesystem's options
_WILDCARD_IN_PATH = re.compile(r"[*\[{?]")
_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.FORCEUNIX


def split_glob(uri: str) -> tuple[str, str]:
    """The folder before the first wildcard, and the pattern from there on; "" if there is none."""
    scheme = URI.match(uri)
    if not scheme and os.path.exists(os.path.expanduser(uri)):
        return uri, ""
    wildcard = (_WILDCARD_IN_URI if scheme else _WILDCARD_IN_PATH).search(uri)
    if not wildcard:
        return uri, ""
    pattern_start = uri.rfind("/", 0, wildcard.start()) + 1
    folder, pattern = uri[:pattern_start], uri[pattern_start:]
    if not scheme:
        return folder or ".", pattern
    pattern, question, options = pattern.partition("?")
    return folder.rstrip("/") + question + options, pattern


def literal_prefix(pattern: str) -> str:
    """What every matching path begins with, so that a server can leave the others out."""
    return re.split(r"[*?[{\\]", pattern, maxsplit=1)[0]


def matches(path: str, pattern: str) -> bool:
    """Whether the whole path matches the pattern; `**` crosses folders."""
    return bool(glob.globmatch(path, pattern, flags=_FLAGS))


def matches_at_any_depth(path: str, pattern: str) -> bool:
    """As `matches`; a pattern without a slash is matched against the file's name alone."""
    return matches(path if "/" in pattern else path.rsplit("/", 1)[-1], pattern)


def is_visible(path: str) -> bool:
    """Whether no part of the path starts with a dot."""
    return not any(part.startswith(".") for part in path.split("/"))
