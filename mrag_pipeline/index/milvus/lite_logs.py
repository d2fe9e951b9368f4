"""Write-ahead logs of Milvus Lite that a killed process left though their rows are in data files.

Lite would read such a log again, and if it has merged data files meanwhile, store the log's rows
twice (docs/decisions/0131-a-log-that-is-in-data-files-is-removed.md).
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

_MARK, _END_BYTES = b"PAR1", 8
_NAME = re.compile(r"wal_(?:data|delta)_(\d+)\.arrow")


def flushed_logs(path: Path) -> list[Path]:
    """The logs of which every row is in a data file."""
    found: list[Path] = []
    for folder in path.glob("collections/*/wal"):
        named = ((file, _NAME.fullmatch(file.name)) for file in folder.iterdir())
        logs = [(file, int(name[1])) for file, name in named if name is not None]
        if logs:
            first = _first_needed_log(folder.parent)
            found += [file for file, number in logs if number < first]
    return found


def _first_needed_log(collection: Path) -> int:
    """The number of the log that the data files do not have; 0 if that is not certain."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        manifest = json.loads((collection / "manifest.json").read_text("utf-8"))
        number, partitions = manifest["active_wal_number"], manifest["partitions"]
        if isinstance(number, int) and all(
            _is_whole(collection / "partitions" / name / file)
            for name, files in partitions.items()
            for kind in ("data_files", "delta_files")
            for file in files[kind]
        ):
            return number
    return 0


def _is_whole(file: Path) -> bool:
    """Whether a Parquet file has its end, 8 bytes of which the last four are its mark.

    Lite does not sync a file before it is named.
    """
    with file.open("rb") as opened:
        opened.seek(-_END_BYTES, os.SEEK_END)
        return opened.read().endswith(_MARK)
