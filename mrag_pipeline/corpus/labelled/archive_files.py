"""Reads the files of a folder, a tar archive or a single file, compressed or not.

Nothing is ever unpacked onto the disk, so a hostile name in an archive has no effect.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from mrag_pipeline.errors import BrokenFile, CorpusNotFound

_COMPRESSED = (".bz2", ".gz", ".xz")
MAX_BYTES = 4_000_000_000  # unpacked, of one archive or file; a set has megabytes


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file's name (relative, with `/`) and bytes."""

    name: str
    data: bytes
    origin: str  # as messages name it: "documents.tar.bz2:home/lease.json"


def archive_files(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[ArchiveFile]:
    """Every regular file, sorted by name; names that start with a dot are skipped.

    Raises: CorpusNotFound; BrokenFile if it cannot be unpacked or holds more than `max_bytes`.
    """
    if not path.exists():
        raise CorpusNotFound(f"no file or folder {path}")
    try:
        yield from sorted(_bounded(path, max_bytes), key=lambda file: file.name)
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError) as error:
        raise BrokenFile(
            f"{path} cannot be read: {error}", "a complete file", "download it again"
        ) from None


def json_value(file: ArchiveFile) -> object:
    """The value in a JSON file.

    Raises: BrokenFile.
    """
    try:
        value: object = json.loads(file.data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"{file.origin} is not JSON: {error}", "UTF-8 JSON") from None
    return value


def _bounded(path: Path, max_bytes: int) -> Iterator[ArchiveFile]:
    remaining = max_bytes
    for file in _unbounded(path, max_bytes):
        remaining -= len(file.data)
        if remaining < 0:
            raise BrokenFile(
                f"{path} unpacks to more than {max_bytes:,} bytes",
                "a data set of a few megabytes",
                "check that this is the right file",
            )
        yield file


def _unbounded(path: Path, max_bytes: int) -> Iterator[ArchiveFile]:
    """No single file is read further than one byte over the limit."""
    if path.is_dir():
        for child in path.rglob("*"):
            name = child.relative_to(path).as_posix()
            if child.is_file() and not child.is_symlink() and not _is_hidden(name):
                with child.open("rb") as stream:
                    yield ArchiveFile(name, stream.read(max_bytes + 1), str(child))
    elif ".tar" in path.suffixes or path.suffix in (".tgz", ".tbz2"):
        with tarfile.open(path) as archive:
            for info in archive:
                member = archive.extractfile(info) if info.isreg() else None
                if member is not None and not _is_hidden(info.name):
                    data = member.read(max_bytes + 1)
                    yield ArchiveFile(info.name, data, f"{path}:{info.name}")
    else:
        name = path.with_suffix("").name if path.suffix in _COMPRESSED else path.name
        with _opened(path) as unpacked:
            yield ArchiveFile(name, unpacked.read(max_bytes + 1), str(path))


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".bz2":
        return bz2.open(path)
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
