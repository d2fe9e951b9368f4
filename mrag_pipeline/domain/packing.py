"""Groups texts of many lengths into batches of bounded work. Pure: lengths in, indices out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def padded_batches(lengths: Sequence[int], max_tokens: int, max_texts: int = 0) -> list[list[int]]:
    """Every text in exactly one batch; texts of a batch are alike in length.

    Args:
        lengths: tokens of each text.
        max_tokens: most tokens in a batch, padding counted; one longer text goes alone.
        max_texts: most texts in a batch; 0: no limit.
    Returns: indices into `lengths`; the longest first, so that what does not fit in memory
    fails at the start.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return list(_filled(order, lengths, max_tokens, max_texts))


def packed_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Every text in exactly one batch; without padding: lengths only add up.

    Args:
        lengths: tokens of each text.
        max_tokens: most tokens in a batch; one longer text goes alone.
    Returns: indices into `lengths`, the longest first: equal lengths are neighbours.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    room = 0
    for index in order:
        if not batches or lengths[index] > room:
            batches.append([])
            room = max_tokens
        batches[-1].append(index)
        room -= lengths[index]
    return batches


def _filled(
    order: list[int], lengths: Sequence[int], max_tokens: int, max_texts: int
) -> Iterator[list[int]]:
    held: list[int] = []
    for index in order:
        longest = lengths[held[0]] if held else lengths[index]
        full = (len(held) + 1) * longest > max_tokens or (max_texts and len(held) >= max_texts)
        if held and full:
            yield held
            held = []
        held.append(index)
    if held:
        yield held
