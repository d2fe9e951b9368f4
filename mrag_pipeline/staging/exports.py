"""One version as a folder of Parquet files: its staged shards and its record.

{uri}/manifest.json
shards/00000/...
record.json.digest  of the record's bytes
record.json         written last
"""

from __future__ import annotations

import hashlib

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import Export, Staging
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.shards import ShardFolders

_RECORD = "record.json"
_DIGEST = "record.json.digest"


def open_export(uri: str) -> Export:
    """The export at a path or URI; it may not exist yet.

    Raises: ConfigError if the URI is not one.
    """
    return ExportFolder(uri)


_AGAIN = (
    "run `mrag export` again: it writes what is missing; into an empty folder if the version was "
    "synced since"
)


class _ExportedShards(ShardFolders):
    _WITHOUT_PLAN = f"delete it and {_AGAIN}"
    _WRITE_ANEW = _AGAIN
    _ANOTHER_PLAN = "export into an empty folder: {folder} holds another version, or another sync"


class ExportFolder:
    """The Export port over a folder."""

    def __init__(self, uri: str) -> None:
        self._folder = Folder(uri)
        self._staging = _ExportedShards(StagingSpec(uri=uri))

    @property
    def staging(self) -> Staging:
        """The export's shards."""
        return self._staging

    def record(self) -> VersionRecord | None:
        """The version's record, None if the export is incomplete.

        Raises: StagingError if it is damaged.
        """
        content = self._folder.read(_RECORD)
        if content is None:
            return None
        text = content.to_pybytes()
        written = self._folder.read(_DIGEST)  # exports of mrag 0.1 have none
        try:
            if written is not None and written.to_pybytes().decode().strip() != _digest(text):
                raise ValueError("its content is not what was written")
            return VersionRecord.from_json(text.decode())
        except (ValueError, KeyError, TypeError) as error:
            raise StagingError(
                f"{self._folder.describe(_RECORD)} is damaged: {error}",
                "the file that `mrag export` wrote",
                _AGAIN,
            ) from error

    def write_record(self, record: VersionRecord) -> None:
        """Stores the record, which completes the export."""
        text = record.to_json().encode()
        self._folder.write(_DIGEST, _digest(text).encode())
        self._folder.write(_RECORD, text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
