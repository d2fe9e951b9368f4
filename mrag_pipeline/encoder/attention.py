"""Attention within each text of a row, by the kernel that measures fastest on each device.

Shape legend: T tokens of all texts, N texts, t tokens of a text, n texts of a run of equal
lengths, H query heads, G key heads, D head dimension.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mrag_pipeline.encoder.packed_rows import Layout, ReadAt

_FLASH_DIM = 256  # the widest head that flash attention accepts


@dataclass(frozen=True, slots=True)
class Rules:
    """Which keys each query of a layer sees, and how scores are scaled."""

    causal: bool
    window: int | None  # tokens on each visible side, the own one included; None: all
    softcap: float | None
    scale: float

    def visible(self, position: int, length: int) -> slice:
        """The keys that the query at `position` of a text of `length` tokens sees."""
        low = 0 if self.window is None else max(0, position - self.window + 1)
        high = position + 1 if self.causal else length
        if not self.causal and self.window is not None:
            high = min(length, position + self.window)
        return slice(low, high)

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """(t, t), True where a query sees a key; None if `causal` alone describes it."""
        if self.window is None or length <= self.window:
            return None
        return _band(length, self.window, self.causal, device)


def kernel_for(query: Tensor, value: Tensor, rules: Rules) -> Callable[..., Tensor]:
    """The kernel for this device, precision and width."""
    if query.device.type != "cuda":
        return by_runs
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    fits_flash = query.shape[-1] == value.shape[-1] <= _FLASH_DIM
    if is_half and fits_flash and _varlen() and rules.softcap is None:
        return by_varlen
    return by_padding


def by_runs(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, read_at: ReadAt = ""
) -> Tensor:
    """(T, H, D) by one call for each run of equal lengths: the fastest on a CPU.

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
            position = 0 if read_at == "cls" else length - 1
            seen = rules.visible(position, length)
            q, k, v = q[:, :, position : position + 1], k[:, :, seen], v[:, :, seen]
            attended = _attend(q, k, v, None, False, rules)
            result[start + position : end : length] = attended[:, :, 0]
        else:
            mask = rules.mask(length, query.device)
            attended = _attend(q, k, v, mask, rules.causal and mask is None, rules)
            result[start:end].view(count, length, num_heads, -1).copy_(attended.transpose(1, 2))
    return result


def by_varlen(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, read_at: ReadAt = ""
) -> Tensor:
    """(T, H, D) by flash attention over variable lengths: for GPUs in half precision."""
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
    # A text's single query is aligned with its last key, so a window or mask only fits `last`.
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
    """(T, H, D) with only the attention padded: for GPUs where flash attention does not apply."""
    num_heads = query.shape[0]
    token_rows, is_token = layout.padding
    q, k, v = (
        _repeated(states, num_heads)[:, token_rows].transpose(0, 1)
        for states in (query, key, value)
    )
    length = token_rows.shape[1]
    mask = is_token[:, None, None, :].expand(-1, 1, length, -1)
    if rules.causal or rules.window is not None:
        mask = mask & _band(length, rules.window or length, rules.causal, query.device)
    attended = _attend(q, k, v, mask, False, rules)  # (N, H, t, D)
    return attended.transpose(1, 2)[is_token]


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
    """(G, T, D) to (H, T, D) for grouped-query attention: neighbouring heads share a key head."""
    if states.shape[0] == num_heads:
        return states
    return states.repeat_interleave(num_heads // states.shape[0], dim=0)


@lru_cache(maxsize=64)
def _band(length: int, window: int, causal: bool, device: torch.device) -> Tensor:
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions[None, :]
    not_ahead = distance >= 0 if causal else distance > -window
    return not_ahead & (distance < window)


@cache
def _varlen() -> Any:
    """Torch's variable-length flash attention (2.10 and later); None if it is missing."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@cache
def _varlen_parameters() -> frozenset[str]:
    return frozenset(inspect.signature(_varlen()).parameters)
