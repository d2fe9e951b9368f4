"""The authors' files on this machine: from a folder, or downloaded once.

`MRAG_DATASETS` names a folder that is looked at first and never written to. What is not there is
downloaded by pooch into the user's cache. A file whose sha256 is known must have it. Of one that
is not, the first download's hash is kept beside it and a different one later is refused: that
shows a change, it does not prove the first to be right (the commit in its address does, as far
as the host is trusted).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from mrag_pipeline.corpus.labelled.paper_sets import PublishedFile
from mrag_pipeline.errors import ConfigError, CorpusNotFound, FingerprintMismatch

FOLDER_VARIABLE = "MRAG_DATASETS"


def data_set_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that MRAG_DATASETS names, None if it names none.

    Raises: CorpusNotFound if there is no such folder.
    """
    named = environment.get(FOLDER_VARIABLE, "")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise CorpusNotFound(
            f"{FOLDER_VARIABLE} names {folder}, which is not a folder",
            "a folder with the data sets' files",
            f"correct {FOLDER_VARIABLE}, or unset it: the files are then downloaded",
        )
    return folder


def cache_folder() -> Path:
    """Where downloads and converted sets are kept on this machine."""
    return platformdirs.user_cache_path("mrag-pipeline") / "datasets"


def fetch(file: PublishedFile, folder: Path | None, cache: Path) -> Path:
    """The file's place on this machine, its hash checked.

    Args:
        folder: looked at first; None looks nowhere.
        cache: where downloads are kept.
    Raises: CorpusNotFound if it cannot be reached; FingerprintMismatch if its hash is another.
    """
    if folder is not None and (folder / file.name).is_file():
        found = folder / file.name
        _check(found, file.sha256, "the hash that this version of mrag knows", file)
        return found
    downloads = cache / "downloads" / file.commit
    found = downloads / file.name
    if not found.is_file():
        _download(file, downloads, folder)
    noted = downloads / f"{file.name}.sha256"
    if file.sha256:
        _check(found, file.sha256, "the hash that this version of mrag knows", file)
    elif noted.is_file():
        _check(found, noted.read_text("ascii").strip(), "the hash of its first download", file)
    else:
        noted.write_text(sha256_of(found) + "\n", "ascii")
    return found


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(path: Path, expected: str, whose: str, file: PublishedFile) -> None:
    if not expected:
        return
    found = sha256_of(path)
    if found != expected:
        raise FingerprintMismatch(
            f"{path} has sha256 {found}",
            f"{expected}, {whose}",
            f"delete it and get {file.url} again; a set of your own goes into a folder of its "
            "own: `mrag evaluate FOLDER`",
        )


def _download(file: PublishedFile, downloads: Path, folder: Path | None) -> None:
    try:
        import pooch  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(
            f"{file.name} is not on this machine, and pooch, which downloads it, is not installed",
            "",
            f"pip install 'mrag-pipeline[eval]', or put the file into a folder that "
            f"{FOLDER_VARIABLE} names",
        ) from None
    pooch.get_logger().setLevel("WARNING")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        # The hash is checked by the caller, who knows what to do about a wrong one.
        pooch.retrieve(file.url, known_hash=None, fname=file.name, path=downloads)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        where = f"{folder} ({FOLDER_VARIABLE}) or " if folder else ""
        raise CorpusNotFound(
            f"{file.name} is not in {where}the cache, and {file.url} gives: {error}",
            "the file, or a way to reach it",
            f"download it elsewhere and put it into a folder that {FOLDER_VARIABLE} names",
        ) from None
