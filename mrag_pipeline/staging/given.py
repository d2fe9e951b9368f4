"""Documents that a program holds, written to staging as a file that a run can read again.

The file is named by its content: the same documents are the same corpus, so a run resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.filesystems.location import open_place

FOLDER = "given"
_EXPECTED = (
    "a path or URI, a DataFrame, an Arrow table, dataset or stream, or an iterable of dicts or "
    "Documents"
)


def write_given(staging_uri: str, index: str, source: object) -> dict[str, Any]:
    """The `[corpus]` settings that read the source again.

    Args:
        source: a path or URI (returned as it is); a DataFrame or other giver of an Arrow stream
            (`__arrow_c_stream__`), an Arrow dataset; an iterable of dicts or Documents. Read once,
            in bounded memory.
    Raises: ConfigError if it is none of these, or a value is not JSON's.
    """
    if isinstance(source, (str, os.PathLike)):
        return {"uri": os.fspath(source)}
    with tempfile.TemporaryDirectory() as folder:
        file, settings = _written(Path(folder), source)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
        name = f"{staging_uri.rstrip('/')}/{index}/{FOLDER}/{digest}{file.suffix}"
        place = open_place(name, f"staging.uri = {staging_uri!r}")
        try:
            place.filesystem.create_dir(place.root.rpartition("/")[0], recursive=True)
            with file.open("rb") as content, place.filesystem.open_output_stream(place.root) as out:
                shutil.copyfileobj(content, out)
        except OSError as error:
            reason = place.failure(error)
            raise ConfigError(reason.found, reason.expected, reason.fix) from error
    return {"uri": name, **settings}


def forget_given(
    staging_uri: str, index: str, in_use: Collection[str], before: datetime
) -> list[str]:
    """Removes the files that no version was built from and that are older; returns their names.

    Args:
        in_use: `corpus.uri` of every version that there is.
        before: an aware moment; a younger file may belong to a run that has no version yet.
    """
    name = f"{staging_uri.rstrip('/')}/{index}/{FOLDER}"
    place = open_place(name, f"staging.uri = {staging_uri!r}")
    kept = {uri.rpartition("/")[2] for uri in in_use}
    try:
        found = place.filesystem.get_file_info(fs.FileSelector(place.root, allow_not_found=True))
        unused = [
            info for info in found if info.base_name not in kept and _moment(info.mtime) < before
        ]
        for info in unused:
            place.filesystem.delete_file(info.path)
    except OSError as error:
        reason = place.failure(error)
        raise ConfigError(reason.found, reason.expected, reason.fix) from error
    return sorted(info.base_name for info in unused)


def _moment(mtime: datetime) -> datetime:
    return mtime if mtime.tzinfo else mtime.astimezone()


def _written(folder: Path, source: object) -> tuple[Path, dict[str, Any]]:
    if isinstance(source, ds.Dataset):
        source = source.scanner().to_reader()
    if hasattr(source, "__arrow_c_stream__"):
        file = folder / "documents.parquet"
        batches = pa.RecordBatchReader.from_stream(source)
        with batches, pq.ParquetWriter(file, batches.schema) as out:
            for batch in batches:
                out.write_batch(batch)
        return file, {"format": "parquet"}
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, bytes)):
        raise ConfigError(
            f"a source of type {type(source).__name__}",
            _EXPECTED,
            "collect() a lazy frame; name one split of a DatasetDict; put one document in a list",
        )
    file = folder / "documents.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number, row in enumerate(source):
            out.write(_line(number, row) + "\n")
    return file, {"format": "jsonl"}


def _line(number: int, row: object) -> str:
    if isinstance(row, Document):
        own = {"id": row.id, "title": row.title, "text": row.text}
        if twice := sorted(own.keys() & row.metadata.keys()):
            raise ConfigError(
                f"document {number} has the metadata fields {', '.join(twice)}",
                "other names than the document's own fields",
                "rename them",
            )
        row = {**row.metadata, **own}
    if not isinstance(row, Mapping):
        raise ConfigError(f"document {number} is of type {type(row).__name__}", _EXPECTED)
    try:
        return json.dumps(dict(row), ensure_ascii=True, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"document {number}: {error}",
            "values that JSON has, dates, decimals and numpy's numbers",
            "convert them, or leave them out",
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    item = getattr(value, "tolist", None)  # numpy's scalars and arrays
    if callable(item):
        return item()
    raise TypeError(f"a value of type {type(value).__name__}")
