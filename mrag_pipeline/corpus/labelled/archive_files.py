"""JSON files out of a folder, a tar archive or a single file, compressed or not.

Nothing is ever unpacked onto the disk, so a member's name cannot lead anywhere; it is only text.
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

_PACKED = (".bz2", ".gz", ".xz")
MAX_BYTES = 4_000_000_000  # unpacked, of one archive or file: a set is megabytes


@dataclass(frozen=True, slots=True)
class Member:
    """One file's name (relative, with `/`) and bytes."""

    name: str
    data: bytes
    place: str  # for people


def members(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[Member]:
    """Every regular file there, by name; names that start with a dot are left out.

    Raises: CorpusNotFound; BrokenFile if it cannot be unpacked or holds more than `max_bytes`.
    """
    if not path.exists():
        raise CorpusNotFound(f"no file or folder {path}")
    try:
        yield from sorted(_bounded(path, max_bytes), key=lambda one: one.name)
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError) as error:
        raise BrokenFile(
            f"{path} cannot be read: {error}", "a whole file", "get it again"
        ) from None


def json_value(member: Member) -> object:
    """What a JSON file holds.

    Raises: BrokenFile.
    """
    try:
        value: object = json.loads(member.data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"{member.place} is not JSON: {error}", "UTF-8 JSON") from None
    return value


def _bounded(path: Path, max_bytes: int) -> Iterator[Member]:
    left = max_bytes
    for member in _members(path, max_bytes):
        left -= len(member.data)
        if left < 0:
            raise BrokenFile(
                f"{path} unpacks to more than {max_bytes:,} bytes",
                "a data set of some megabytes",
                "check what the file is",
            )
        yield member


def _members(path: Path, max_bytes: int) -> Iterator[Member]:
    """No member is read further than one byte over the limit."""
    if path.is_dir():
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if file.is_file() and not file.is_symlink() and not _hidden(name):
                with file.open("rb") as opened:
                    yield Member(name, opened.read(max_bytes + 1), str(file))
    elif ".tar" in path.suffixes or path.suffix in (".tgz", ".tbz2"):
        with tarfile.open(path) as archive:
            for info in archive:
                stream = archive.extractfile(info) if info.isreg() else None
                if stream is not None and not _hidden(info.name):
                    data = stream.read(max_bytes + 1)
                    yield Member(info.name, data, f"{path}:{info.name}")
    else:
        name = path.with_suffix("").name if path.suffix in _PACKED else path.name
        with _opened(path) as unpacked:
            yield Member(name, unpacked.read(max_bytes + 1), str(path))


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".bz2":
        return bz2.open(path)
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
