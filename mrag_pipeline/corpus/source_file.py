"""One file of a corpus, and the files of a local folder in order.

Paths are relative to the corpus's folder, with `/`.
"""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from mrag_pipeline.filesystems.s3_objects import StoredObject

# The stamps of links that are not followed, and what their dead letters say.
_TO_NOTHING, _OUTWARD = "a link to nothing", "a link that leads out"
BAD_LINKS = {
    _TO_NOTHING: "it is a link to a file that does not exist",
    _OUTWARD: "it is a link that leads out of the corpus's folder (corpus.follow_links allows it)",
}
# A change so soon after another may leave the time as it is: FAT's clock has steps of 2 s.
_CLOCK_STEP_NS = 2_000_000_000
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus."""

    path: str
    num_bytes: int
    stamp: str  # size and time of last change; in S3 size and ETag, which follows the content
    # Equal later only if the content is, as HTTP's validators; "" where nothing is, or not yet.
    validator: str = field(default="", compare=False)

    @property
    def compression(self) -> str | None:
        """The compression as pyarrow names it, from the file's name."""
        return COMPRESSIONS.get(posixpath.splitext(self.path)[1].lower())

    @property
    def suffix(self) -> str:
        """The lower-case suffix that shows the format: `.jsonl` of `a.jsonl.gz`."""
        path, suffix = posixpath.splitext(self.path)
        return posixpath.splitext(path)[1].lower() if self.compression else suffix.lower()

    @property
    def path_bytes(self) -> bytes:
        """What files are sorted by."""
        return self.path.encode("utf-8", "surrogateescape")

    @property
    def has_utf8_name(self) -> bool:
        """Whether the path can be stored and printed as it is."""
        return is_utf8(self.path)


def is_utf8(path: str) -> bool:
    """Whether a path that the operating system gave is valid UTF-8."""
    return path == path.encode("utf-8", "replace").decode()


def file_on_disk(path: str, num_bytes: int, mtime_ns: int | None, ctime_ns: int = 0) -> SourceFile:
    """A file whose filesystem records the time of its last change.

    Its times prove its content only if they lie behind us by more than a step of the clock: until
    then it may change again and keep them.

    Args:
        ctime_ns: of the last change of content or attributes, which no program can set back; 0
            where the filesystem has none.
    """
    stamp = f"{num_bytes}-{mtime_ns or 0}"
    changed_ns = max(mtime_ns or 0, ctime_ns)
    is_settled = (mtime_ns or 0) > 0 and changed_ns + _CLOCK_STEP_NS < time.time_ns()
    return SourceFile(path, num_bytes, stamp, f"{stamp}-{ctime_ns}" if is_settled else "")


def file_in_s3(path: str, stored: StoredObject) -> SourceFile:
    """A file that is an object of an S3 bucket."""
    stamp = f"{stored.num_bytes}-{stored.etag}"
    return SourceFile(path, stored.num_bytes, stamp, stamp if stored.etag else "")


def local_files(folder: str, within: str, prefix: str = "") -> Iterator[SourceFile]:
    """All files below a local folder, sorted by the bytes of their paths.

    Names that start with a dot and links to folders are skipped.

    Args:
        within: the folder, without links, that files may be in; "" for any.
    Raises: OSError if a folder cannot be listed.
    """
    # pyarrow's own recursion follows links in circles and stops at a name that is not UTF-8.
    with os.scandir(folder) as entries:
        children = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    # In a path a folder's name is followed by a slash: `a.b` comes before `a/c`.
    for name, is_folder in sorted(
        (child for child in children if not child[0].startswith(".")),
        key=lambda child: os.fsencode(f"{child[0]}/" if child[1] else child[0]),
    ):
        full = os.path.join(folder, name)
        if is_folder:
            yield from local_files(full, within, f"{prefix}{name}/")
        elif os.path.islink(full) and not os.path.exists(full):
            yield SourceFile(f"{prefix}{name}", 0, _TO_NOTHING)
        elif os.path.isfile(full) and not _is_within(full, within):
            yield SourceFile(f"{prefix}{name}", 0, _OUTWARD)
        elif os.path.isfile(full):
            state = os.stat(full)
            yield file_on_disk(
                f"{prefix}{name}", state.st_size, state.st_mtime_ns, state.st_ctime_ns
            )


def _is_within(path: str, folder: str) -> bool:
    """Whether a file, or what a link to one leads to, is below the folder."""
    if not folder or not os.path.islink(path):
        return True
    return os.path.commonpath([os.path.realpath(path), folder]) == folder
