"""Counts calls to staging, here and in workers; each is one or a few requests of a store."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrag_pipeline.config import Config
from mrag_pipeline.ports import Work
from mrag_pipeline.staging.atomic_folder import Folder

VERBS = {"read": "GET", "open": "GET", "write": "PUT", "sizes": "LIST"}  # by method


class Requests:
    """The calls of this process since it was made, and of the workers that opened by it."""

    def __init__(self, folder: Path) -> None:
        """Counts from now on.

        Args:
            folder: where workers say what they asked for; they see it under the same path.
        """
        self._folder = folder
        self._here: Counter[str] = Counter()
        lock = threading.Lock()

        def count(verb: str) -> None:
            with lock:
                self._here[verb] += 1

        _tell(count)

    def total(self) -> Counter[str]:
        """By verb."""
        total = Counter(self._here)
        for path in self._folder.glob("requests-*"):
            total.update(path.read_text().split())
        return total


def counted_work(folder: Path, open_work: Callable[[Config], Work], config: Config) -> Work:
    """What a worker opens, its calls counted; bind all but the config with functools.partial."""
    file = (folder / f"requests-{os.getpid()}").open("a", buffering=1)
    # One write for each: several threads count.
    _tell(lambda verb: file.write(f"{verb}\n"))
    return open_work(config)


def _tell(count: Callable[[str], object]) -> None:
    def counted(verb: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            count(verb)
            return real(*args)

        return run

    for name, verb in VERBS.items():
        setattr(Folder, name, counted(verb, getattr(Folder, name)))
