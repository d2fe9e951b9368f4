"""An exact index that several processes read and change: between two calls it is in a file.

Of a version without words: what analyzes them is not sent to another process.
"""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import IndexCapabilities


class IndexInFile:
    """The VectorIndex port; one call at a time, whichever process makes it."""

    def __init__(self, file: Path, index: str = "docs") -> None:
        self._file = file
        self._index = index
        if not file.exists():
            file.write_bytes(pickle.dumps(ExactIndex(index)))

    def __reduce__(self) -> tuple[type[IndexInFile], tuple[Path, str]]:
        return IndexInFile, (self._file, self._index)

    def capabilities(self) -> IndexCapabilities:
        known = ExactIndex(self._index).capabilities()
        return replace(known, is_shared=True, has_full_text=False)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def called(*args: Any, **named: Any) -> Any:
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                index = pickle.loads(self._file.read_bytes())
                answer = getattr(index, name)(*args, **named)
                if isinstance(answer, Iterator):
                    answer = list(answer)
                    return iter(answer)
                self._file.write_bytes(pickle.dumps(index))
            return answer

        return called
