"""Finds the authors' files on this machine, or downloads them once.

`MRAG_DATASETS` names a folder that is searched first and never written to. Other files are
downloaded by pooch into the user's cache. A file whose sha256 is known must have that hash. For
any other file the hash of the first download is stored beside it, and a different one is refused
later: this detects a change but does not prove the first download right (the commit in its
address does, as far as the host is trusted).
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
    """The folder that MRAG_DATASETS names; None if the variable is not set.

    Raises: CorpusNotFound if the folder does not exist.
    """
    value = environment.get(FOLDER_VARIABLE, "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise CorpusNotFound(
            f"{FOLDER_VARIABLE} is {folder}, which is not a folder",
            "a folder with the data sets' files",
            f"correct {FOLDER_VARIABLE}, or unset it: the files are then downloaded",
        )
    return folder


def cache_folder() -> Path:
    """The folder of downloads and converted sets on this machine."""
    return platformdirs.user_cache_path("mrag-pipeline") / "datasets"


def fetch(file: PublishedFile, folder: Path | None, cache: Path) -> Path:
    """The path of the file on this machine, its hash checked.

    Args:
        folder: searched before the cache, unless None.
        cache: the folder of downloads.
    Raises: CorpusNotFound if it cannot be downloaded; FingerprintMismatch if its hash differs.
    """
    if folder is not None and (folder / file.name).is_file():
        path = folder / file.name
        _check(path, file.sha256, "the hash that this version of mrag knows", file)
        return path
    downloads = cache / "downloads" / file.commit
    path = downloads / file.name
    if not path.is_file():
        _download(file, downloads, folder)
    hash_file = downloads / f"{file.name}.sha256"
    if file.sha256:
        _check(path, file.sha256, "the hash that this version of mrag knows", file)
    elif hash_file.is_file():
        _check(path, hash_file.read_text("ascii").strip(), "the hash of its first download", file)
    else:
        hash_file.write_text(sha256_of(path) + "\n", "ascii")
    return path


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(path: Path, expected: str, meaning: str, file: PublishedFile) -> None:
    if not expected:
        return
    actual = sha256_of(path)
    if actual != expected:
        raise FingerprintMismatch(
            f"{path} has sha256 {actual}",
            f"{expected}, {meaning}",
            f"delete it and download {file.url} again; keep a data set of your own in a separate "
            "folder: `mrag evaluate FOLDER`",
        )


def _download(file: PublishedFile, downloads: Path, folder: Path | None) -> None:
    try:
        import pooch  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(
            f"{file.name} is not on this machine, and pooch, which downloads it, is not installed",
            "the file, or the package pooch",
            f"pip install 'mrag-pipeline[eval]', or put the file into the folder that "
            f"{FOLDER_VARIABLE} names",
        ) from None
    pooch.get_logger().setLevel("WARNING")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        # The caller checks the hash and says what to do about a wrong one.
        pooch.retrieve(file.url, known_hash=None, fname=file.name, path=downloads)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        searched = f"{folder} ({FOLDER_VARIABLE}) or " if folder else ""
        raise CorpusNotFound(
            f"{file.name} is not in {searched}the cache, and downloading {file.url} failed: "
            f"{error}",
            "the file on this machine, or a network that reaches it",
            f"download it elsewhere and put it into the folder that {FOLDER_VARIABLE} names",
        ) from None
