"""Index files of Milvus Lite that a killed process began to write.

Lite writes an index file in place, and refuses every later request for the collection if it is cut
short. One that is missing it builds again from the data file.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

_VECTORS, _VALUES = b"\x93NUMPY", b"ARROW1"  # how the files of both kinds begin
_PATTERN = "collections/*/partitions/*/indexes/*.*idx"


def cut_index_files(path: Path) -> list[Path]:
    """The database's index files that end too early.

    Of a file of another format than NumPy's and Arrow's this is seen only where it is
    (nearly) empty.
    """
    return [file for file in path.glob(_PATTERN) if not _is_whole(file)]


def _is_whole(file: Path) -> bool:
    size = file.stat().st_size
    with file.open("rb") as opened:
        begins = opened.read(len(_VECTORS))
        if begins == _VECTORS:
            opened.seek(0)
            return size >= _promised_bytes(opened)
        if begins == _VALUES:
            opened.seek(-len(_VALUES), os.SEEK_END)
            return size > 2 * len(_VALUES) and opened.read() == _VALUES
        return size > len(_VECTORS)


def _promised_bytes(opened: BinaryIO) -> int:
    """The size of a whole file of NumPy, header included; more than any size if it is cut there."""
    try:
        if np.lib.format.read_magic(opened) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(opened)
    except ValueError:
        return 2**63
    return opened.tell() + prod(shape) * dtype.itemsize
