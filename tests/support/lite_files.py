"""Milvus Lite's data files, which it merges in the background."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

MERGED_AT = 4  # data files of one size: Lite merges so many
WAIT_S = 30.0


def wait_until_merged(database: Path, collections: Iterable[str]) -> None:
    """Returns when no collection has as many data files as Lite merges."""
    until = time.monotonic() + WAIT_S
    for name in collections:
        while (number := num_data_files(database, name)) >= MERGED_AT:
            assert time.monotonic() < until, f"{name} has {number} data files"
            time.sleep(0.02)


def num_data_files(database: Path, collection: str) -> int:
    """How many the collection's manifest names; Lite replaces that file in one step."""
    file = database / "collections" / collection / "manifest.json"
    partitions = json.loads(file.read_text("utf-8"))["partitions"]
    return sum(len(partition["data_files"]) for partition in partitions.values())
