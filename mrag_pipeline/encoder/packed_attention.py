"""The packed attention: many texts in one row of tokens, attention within each text.

It is registered once with transformers' attention and mask interfaces, so every architecture that
uses them can run it unchanged. A context variable holds the layout of the running forward pass;
`position_ids` restart at each text.

Shape legend: T tokens of all texts, N texts, H query heads, G key heads, D head dimension,
E model width.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from mrag_pipeline.encoder.attention import Rules, kernel_for
from mrag_pipeline.encoder.packed_rows import Layout
from mrag_pipeline.errors import UnsupportedArchitecture

NAME = "mrag_packed"
# Projections of queries alone; a fused projection also makes keys and values, which are needed.
QUERY_NAMES = ("query", "q_proj", "q_lin", "q")


class CannotPack(UnsupportedArchitecture):
    """The model needs something of its attention that the packed one cannot do."""


_LAYOUT: contextvars.ContextVar[Layout | None] = contextvars.ContextVar("layout", default=None)


@contextmanager
def packed(layout: Layout) -> Iterator[Layout]:
    """Within it, models with the packed attention use this layout for their row."""
    token = _LAYOUT.set(layout)
    try:
        yield layout
    finally:
        _LAYOUT.reset(token)


def register() -> None:
    """Registers the packed attention with transformers; calling it again changes nothing."""
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

    Raises: CannotPack for what it cannot do: a mask of the model's own, position biases,
    attention sinks, cross attention.
    """
    layout = _LAYOUT.get()
    options = ("s_aux", "position_bias", "cache")
    unsupported = [name for name in options if others.get(name) is not None]
    if layout is None or attention_mask is not None or unsupported or dropout:
        problem = ", ".join(unsupported) or "a mask of its own"
        raise CannotPack(f"{type(module).__name__}: {problem}")
    if not (query.shape[0] == 1 and key.shape[2] == query.shape[2] == layout.starts[-1]):
        raise CannotPack(f"{type(module).__name__}: attention across rows")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rules = Rules(bool(causal), sliding_window or None, softcap, scale)
    read_at = layout.read_at if id(module) in layout.read_in else ""
    kernel = kernel_for(query, value, rules)
    return kernel(query[0], key[0], value[0], layout, rules, read_at).unsqueeze(0), None


def cut_queries(block: nn.Module) -> None:
    """Makes queries only for the token of each text at which the block's attention is read.

    The other rows are zero, so that the model's own code gets the shape it expects.
    """
    for name, module in block.named_modules():
        if name.rpartition(".")[2] in QUERY_NAMES and isinstance(module, nn.Linear):
            module.register_forward_pre_hook(_keep_read_rows)
            module.register_forward_hook(_restore_rows)


def _keep_read_rows(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """(1, T, E) to (1, N, E)."""
    layout = _layout_to_cut(module)
    return None if layout is None else (args[0][:, layout.read_rows], *args[1:])


def _restore_rows(module: nn.Module, _: Any, queries: Tensor) -> Tensor | None:
    """(1, N, H*D) to (1, T, H*D)."""
    layout = _layout_to_cut(module)
    if layout is None:
        return None
    return queries.new_zeros(1, layout.starts[-1], queries.shape[-1]).index_copy_(
        1, layout.read_rows, queries
    )


def _layout_to_cut(module: nn.Module) -> Layout | None:
    layout = _LAYOUT.get()
    cuts = layout is not None and layout.read_at and id(module) in layout.read_in
    return layout if cuts else None


def _no_mask(*_: Any, **__: Any) -> None:
    """No mask: the layout determines which tokens see each other."""
