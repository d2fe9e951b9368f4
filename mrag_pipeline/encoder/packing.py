"""The packed attention: token rows of many texts in one row, attention within each text.

Registered once with transformers' attention and mask interfaces, so that every architecture
that uses them gets it without being changed. The layout of the running forward pass travels
in a context variable; positions are reset through `position_ids`.

Shape legend: T tokens of all texts, N texts, t tokens of a text, n texts of a run of equal
lengths, H query heads, G key heads, D head dimension.
"""

from __future__ import annotations

import contextvars
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate, groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from mrag_pipeline.errors import UnsupportedArchitecture

NAME = "mrag_packed"
ReadAt = Literal["", "cls", "last"]

_FLASH_DIM = 256  # the widest head that flash attention takes


class CannotPack(UnsupportedArchitecture):
    """The attention is asked for something that the packed one does not do."""


@dataclass(frozen=True)
class Layout:
    """Where each text lies in the row; alike lengths should lie together."""

    lengths: tuple[int, ...]
    device: torch.device
    # Modules whose attention is only read at one token of each text, and which.
    read_at: ReadAt = ""
    read_in: frozenset[int] = frozenset()  # by id()

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """N + 1 of them: the last is T."""
        return (0, *accumulate(self.lengths))

    @cached_property
    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """(start, n, t) of neighbours of equal length."""
        runs, start = [], 0
        for length, same in groupby(self.lengths):
            count = len(list(same))
            runs.append((start, count, length))
            start += count * length
        return tuple(runs)

    @cached_property
    def positions(self) -> Tensor:
        """(T,), from 0 in each text."""
        pieces = [torch.arange(t).repeat(n) for _, n, t in self.runs]
        return torch.cat(pieces).to(self.device, non_blocking=True)

    @cached_property
    def boundaries(self) -> Tensor:
        """`starts` as int32 on the device, for variable-length kernels."""
        return torch.tensor(self.starts, dtype=torch.int32).to(self.device, non_blocking=True)

    @cached_property
    def first(self) -> Tensor:
        """(N,), each text's first token in the row."""
        return self.boundaries[:-1].long()

    @cached_property
    def last(self) -> Tensor:
        """(N,), each text's last token in the row."""
        return self.boundaries[1:].long() - 1

    @cached_property
    def padding(self) -> tuple[Tensor, Tensor]:
        """(N, t max) row index of each place, any token's where none is; and where one is."""
        places = torch.arange(max(self.lengths), device=self.device)
        counts = (self.last - self.first + 1)[:, None]
        real = places < counts
        return self.first[:, None] + torch.where(real, places, 0), real

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        """(T, X) to (N, X) float32."""
        if pooling != "mean":
            return states[self.first if pooling == "cls" else self.last].float()
        if states.is_cuda:
            lengths = torch.tensor(self.lengths, device=states.device)
            return torch.segment_reduce(states.float(), "mean", lengths=lengths, axis=0)
        pieces = (states[s : s + n * t].view(n, t, -1) for s, n, t in self.runs)
        return torch.cat([piece.float().mean(1) for piece in pieces])


@dataclass(frozen=True, slots=True)
class Rules:
    """What a layer's attention may see."""

    causal: bool
    window: int | None  # tokens to each allowed side, the own one counted; None: all
    softcap: float | None
    scale: float

    def visible(self, at: int, length: int) -> slice:
        """The keys that the query at `at` sees."""
        low = 0 if self.window is None else max(0, at - self.window + 1)
        high = at + 1 if self.causal else length
        if not self.causal and self.window is not None:
            high = min(length, at + self.window)
        return slice(low, high)

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """(t, t), True where a query may look; None if `causal` alone says it all."""
        if self.window is None or length <= self.window:
            return None
        return _band(length, self.window, self.causal, device)


_LAYOUT: contextvars.ContextVar[Layout | None] = contextvars.ContextVar("layout", default=None)


@contextmanager
def packed(layout: Layout) -> Iterator[Layout]:
    """Within it, models with the packed attention read their row by this layout."""
    token = _LAYOUT.set(layout)
    try:
        yield layout
    finally:
        _LAYOUT.reset(token)


def register() -> None:
    """Makes the packed attention known to transformers; again changes nothing."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def packed_attention(
    module: nn.Module,
    query: Tensor,  # (1, H, T, D)
    key: Tensor,  # (1, G, T, D)
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """(1, T, H, D): each token attends within its own text only.

    Raises: CannotPack for what it does not do: a mask of the model's own, position biases,
    attention sinks, cross attention.
    """
    layout = _LAYOUT.get()
    unknown = [name for name in ("s_aux", "position_bias", "cache") if others.get(name) is not None]
    if layout is None or attention_mask is not None or unknown or dropout:
        raise CannotPack(f"{type(module).__name__}: {', '.join(unknown) or 'a mask of its own'}")
    if not (query.shape[0] == 1 and key.shape[2] == query.shape[2] == layout.starts[-1]):
        raise CannotPack(f"{type(module).__name__}: attention across rows")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rules = Rules(bool(causal), sliding_window or None, softcap, scale)
    read_at = layout.read_at if id(module) in layout.read_in else ""
    kernel = _kernel(query, value, rules)
    return kernel(query[0], key[0], value[0], layout, rules, read_at).unsqueeze(0), None


def _kernel(query: Tensor, value: Tensor, rules: Rules) -> Callable[..., Tensor]:
    if query.device.type != "cuda":
        return by_runs
    half = query.dtype in (torch.float16, torch.bfloat16)
    flat = query.shape[-1] == value.shape[-1] <= _FLASH_DIM
    if half and flat and _varlen() and rules.softcap is None:
        return by_varlen
    return by_padding


def by_runs(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, read_at: ReadAt = ""
) -> Tensor:
    """(T, H, D), one call for each run of equal lengths: what measures fastest on a CPU.

    Rows that are not read stay zero.
    """
    num_heads, num_tokens, _ = query.shape
    key, value = _repeated(key, num_heads), _repeated(value, num_heads)
    out = query.new_zeros if read_at else query.new_empty
    result = out((num_tokens, num_heads, value.shape[-1]))
    for start, count, length in layout.runs:
        end = start + count * length
        q, k, v = (
            states[:, start:end].view(len(states), count, length, -1).transpose(0, 1)
            for states in (query, key, value)
        )
        if read_at:
            at = 0 if read_at == "cls" else length - 1
            seen = rules.visible(at, length)
            q, k, v = q[:, :, at : at + 1], k[:, :, seen], v[:, :, seen]
            attended = _attend(q, k, v, None, False, rules)
            result[start + at : end : length] = attended[:, :, 0]
        else:
            mask = rules.mask(length, query.device)
            attended = _attend(q, k, v, mask, rules.causal and mask is None, rules)
            result[start:end].view(count, length, num_heads, -1).copy_(attended.transpose(1, 2))
    return result


def by_varlen(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, read_at: ReadAt = ""
) -> Tensor:
    """(T, H, D) by flash attention over variable lengths: GPUs, half precision."""
    num_heads, _, head_dim = query.shape
    accepted = _varlen_parameters()
    options: dict[str, Any] = {}
    if "enable_gqa" in accepted and key.shape[0] != num_heads:
        options["enable_gqa"] = True
    else:
        key, value = _repeated(key, num_heads), _repeated(value, num_heads)
    if "scale" in accepted:
        options["scale"] = rules.scale
    elif not math.isclose(rules.scale, head_dim**-0.5):
        query = query * (rules.scale * head_dim**0.5)
    side = -1 if rules.window is None else rules.window - 1
    if "window_size" in accepted:
        options["window_size"] = (side, 0 if rules.causal else side)
    elif rules.window is not None and max(layout.lengths) > rules.window:
        return by_padding(query, key, value, layout, rules, read_at)
    else:
        options["is_causal"] = rules.causal
    longest = max(layout.lengths)
    q, k, v = (states.transpose(0, 1) for states in (query, key, value))
    # One query a text is aligned with its last key, so a window or a mask fits `last` alone.
    if read_at == "last" or (read_at == "cls" and not rules.causal and rules.window is None):
        rows = layout.first if read_at == "cls" else layout.last
        single = torch.arange(len(rows) + 1, dtype=torch.int32, device=q.device)
        attended = _varlen()(q[rows], k, v, single, layout.boundaries, 1, longest, **options)
        return query.new_zeros((len(q), num_heads, v.shape[-1])).index_copy_(0, rows, attended)
    ends = layout.boundaries
    return _varlen()(q, k, v, ends, ends, longest, longest, **options)  # type: ignore[no-any-return]


def by_padding(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, _: ReadAt = ""
) -> Tensor:
    """(T, H, D) with the attention alone padded: GPUs where flash attention cannot serve."""
    num_heads = query.shape[0]
    places, real = layout.padding
    q, k, v = (
        _repeated(states, num_heads)[:, places].transpose(0, 1) for states in (query, key, value)
    )
    length = places.shape[1]
    mask = real[:, None, None, :].expand(-1, 1, length, -1)
    if rules.causal or rules.window is not None:
        mask = mask & _band(length, rules.window or length, rules.causal, query.device)
    attended = _attend(q, k, v, mask, False, rules)  # (N, H, t, D)
    return attended.transpose(1, 2)[real]


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, rules: Rules
) -> Tensor:
    if rules.softcap is None:
        return scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=rules.scale
        )
    scores = rules.softcap * torch.tanh(q @ k.transpose(-1, -2) * (rules.scale / rules.softcap))
    if causal:
        mask = _band(k.shape[-2], k.shape[-2], True, q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def _repeated(states: Tensor, num_heads: int) -> Tensor:
    """Grouped-query attention: (G, T, D) to (H, T, D), neighbours sharing a key head."""
    if states.shape[0] == num_heads:
        return states
    return states.repeat_interleave(num_heads // states.shape[0], dim=0)


@lru_cache(maxsize=64)
def _band(length: int, window: int, causal: bool, device: torch.device) -> Tensor:
    places = torch.arange(length, device=device)
    behind = places[:, None] - places[None, :]
    low = behind >= 0 if causal else behind > -window
    return low & (behind < window)


@cache
def _varlen() -> Any:
    """Torch's variable-length flash attention (2.10 and later); None where it is not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@cache
def _varlen_parameters() -> frozenset[str]:
    return frozenset(inspect.signature(_varlen()).parameters)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says which tokens see which."""


def texts_in_row(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(1, T), the texts' ids one after the other."""
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    if device.type == "cuda":
        flat = flat.pin_memory()
    return flat.to(device, non_blocking=True).unsqueeze(0)
