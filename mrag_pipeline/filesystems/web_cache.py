"""Files of the web that are on this machine, a folder for each URL, each file named by its hash.

Processes of one machine share them: a file appears complete or not at all, and one that is being
read is never written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

_KEPT_DAYS = 7  # since it was last read
_ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of the web on this machine."""

    path: str
    num_bytes: int
    digest: str  # SHA-256, 64 hex digits


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was fetched, and what its server said by which it can be asked for changes."""

    file: Fetched
    etag: str
    modified: str

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask for the file only if it has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in headers.items() if value}


def new_folder(url: str) -> Path:
    """The folder of the URL's files. Files that no run has read for a week are removed.

    Raises: OSError.
    """
    cache = platformdirs.user_cache_path("mrag-pipeline") / "web"
    folder = cache / hashlib.sha256(url.encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    oldest = time.time() - _KEPT_DAYS * 86_400
    for path in (path for each in cache.iterdir() for path in each.iterdir()):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except FileNotFoundError:  # another run removed it
            continue
    return folder


def kept_in(folder: Path) -> Kept | None:
    """What was fetched last, if it is there and whole."""
    try:
        about = json.loads((folder / _ABOUT).read_text("utf-8"))
        kept = Kept(Fetched(**about.pop("file")), **about)
        return kept if os.path.getsize(kept.file.path) == kept.file.num_bytes else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def remember(folder: Path, kept: Kept) -> None:
    """Makes it what `kept_in` returns."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".", delete=False) as file:
        json.dump(asdict(kept), file)
    os.replace(file.name, folder / _ABOUT)
