"""How much two processes of this machine gain over one: no two workers gain more."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

_MOST_BYTES = 100_000_000  # of a half: some seconds


def own_speedup(corpus: Path) -> float:
    """How much faster two processes of this machine parse and hash a file than one, by halves."""
    middle = min(corpus.stat().st_size // 2, _MOST_BYTES)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        halves = [(corpus, 0, middle), (corpus, middle, 2 * middle)]
        list(processes.map(_parsed, halves))  # started, and the file is in the page cache
        began = time.monotonic()
        for half in halves:
            processes.submit(_parsed, half).result()
        between = time.monotonic()
        list(processes.map(_parsed, halves))
        return (between - began) / (time.monotonic() - between)


def _parsed(part: tuple[Path, int, int]) -> str:
    corpus, begin, end = part
    summed = hashlib.sha256()
    with corpus.open("rb") as file:
        file.seek(begin)
        file.readline()
        while file.tell() < end and (line := file.readline()):
            summed.update(json.dumps(json.loads(line)).encode())
    return summed.hexdigest()
