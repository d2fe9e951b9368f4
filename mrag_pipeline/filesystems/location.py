"""Opens a path or a URI: its filesystem, and its name for messages."""

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

ERRORS: tuple[type[Exception], ...] = (OSError, pa.ArrowException)
# Of pyarrow's own filesystems. For others, such as hf://, it would ask a server at once.
_SCHEMES = ("file", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder on a filesystem; it may not exist."""

    filesystem: fs.FileSystem
    root: str  # path in the filesystem's own form
    server: str = "the filesystem"  # for messages
    bucket: str = ""
    objects: Objects | None = None  # for an S3 bucket only

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What reading raises."""
        return ERRORS

    def failure(self, error: BaseException) -> Failure:
        """Explains an error of this place."""
        return failure(error, self.server, self.bucket)


def open_place(uri: str, what: str) -> Place:
    """The place that a path or a URI names; nothing is read yet.

    Args:
        what: the setting and its value without secrets, for error messages.
    Raises: ConfigError if the URI is invalid or its scheme is not supported.
    """
    if not URI.match(uri):
        return Place(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri)))
    if uri.startswith("s3://"):
        s3_address = address(uri, what)
        server = {"server": s3_address.server, "bucket": s3_address.bucket}
        try:
            objects = Objects(s3_address)
            return Place(open_s3(s3_address), s3_address.path, **server, objects=objects)
        except OSError as error:
            reason = failure(error, **server)
            raise ConfigError(f"{what}: {reason.found}", reason.expected, reason.fix) from error
    if uri.partition(":")[0].lower() not in _SCHEMES:
        raise ConfigError(
            f"{what}: unknown scheme in {shown(uri)}",
            "a path, or a URI such as file:///data/docs, s3://bucket/docs, gs://bucket/docs",
            "download it, and give the path",
        )
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
    """The URI without credentials and options, which may be secret."""
    if not URI.match(uri):
        return uri
    return re.sub(r"(?<=://)[^/@]*@", "", uri.partition("?")[0])


def from_anywhere(uri: str) -> str:
    """The path or URI, as a process with another working folder names the same place."""
    return uri if URI.match(uri) else os.path.abspath(os.path.expanduser(uri))
