"""One encoder for a whole run: loading it again for each of its steps takes longer than a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from mrag_pipeline.encoder.segmenter import TokenizingEncoder

    E = TypeVar("E", bound=TokenizingEncoder)

Key = tuple[object, ...]

_kept: ContextVar[dict[Key, TokenizingEncoder] | None] = ContextVar("encoder", default=None)


@contextmanager
def keep_encoder() -> Iterator[None]:
    """Within it, the encoder that was loaded last is kept for whoever asks for it again."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def forget_encoder() -> None:
    """Lets go of the encoder, such as while workers need the memory for theirs."""
    if (kept := _kept.get()) is not None:
        kept.clear()


def is_kept(key: Key) -> bool:
    """Whether the encoder of this key is there already."""
    return key in (_kept.get() or {})


def kept_or(key: Key, load: Callable[[], E]) -> E:
    """The encoder that is kept under the key, or the loaded one.

    Args:
        key: all that makes one encoder different from another.
    """
    kept = _kept.get()
    if kept is None:
        return load()
    if key not in kept:
        kept.clear()  # before the next one is loaded: one of them may be all that fits
        kept[key] = load()
    return cast("E", kept[key])
