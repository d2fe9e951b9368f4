"""Says which folder is full when a stage cannot write what does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mrag_pipeline.errors import StorageFull, is_no_space


@contextmanager
def no_space(folder: str, what: str) -> Iterator[None]:
    """Turns the error of a full disk into one that says what to do.

    Args:
        what: is written there.
    """
    try:
        yield
    except OSError as error:
        if not is_no_space(error):
            raise
        raise StorageFull(
            f"no space left in {folder} for {what}",
            "a temporary folder with room for them",
            "free space there, or name another folder in the variable TMPDIR; then run the "
            "same command again",
        ) from error
