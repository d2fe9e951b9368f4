"""A path or a URI opened: its filesystem, and the one name by which people know it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import fs

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.filesystems.failures import Failure, failure
from mrag_pipeline.filesystems.s3_address import address, open_s3
from mrag_pipeline.filesystems.s3_objects import Objects

URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder on a filesystem; nothing has been looked at yet."""

    filesystem: fs.FileSystem
    root: str  # as the filesystem names it
    server: str = "the filesystem"  # for people
    bucket: str = ""
    objects: Objects | None = None  # of an S3 bucket

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def failure(self, error: BaseException) -> Failure:
        """What an error there says to a person."""
        return failure(error, self.server, self.bucket)


def open_place(uri: str, what: str) -> Place:
    """The place that a path or a URI names.

    Args:
        what: names the setting that holds it, with its value as far as it may be shown.
    Raises: ConfigError if there is no such kind of place.
    """
    if not URI.match(uri):
        return Place(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri)))
    if uri.startswith("s3://"):
        found = address(uri, what)
        server = {"server": found.server, "bucket": found.bucket}
        try:
            return Place(open_s3(found), found.path, **server, objects=Objects(found))
        except OSError as error:
            why = failure(error, **server)
            raise ConfigError(f"{what}: {why.found}", why.expected, why.fix) from error
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(
            f"{what}: {failure(error).found.replace(uri, shown(uri))}",
            "a path, or a URI such as file:///data/docs, s3://bucket/docs, gs://bucket/docs",
            "correct the URI",
        ) from error
    return Place(filesystem, root)


def shown(uri: str) -> str:
    """The URI without keys and options, which may be secret."""
    if not URI.match(uri):
        return uri
    return re.sub(r"(?<=://)[^/@]*@", "", uri.partition("?")[0])
