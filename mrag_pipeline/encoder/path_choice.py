"""Chooses how a model runs texts: the fastest way that gives the model's own vectors.

A way is used only after it has given, for a few texts, the vectors that the model gives one text
at a time.

Shape legend: N texts, H heads, D head dimension, E model width.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from mrag_pipeline.encoder import packed_attention
from mrag_pipeline.encoder.forward_paths import (
    ForwardPath,
    PackedPath,
    PaddedPath,
    Rows,
    SinglePath,
    accepted_parameters,
)
from mrag_pipeline.encoder.linear_layers import FastLinears
from mrag_pipeline.encoder.model_errors import MODEL_ERRORS, does_not_run, type_and_line
from mrag_pipeline.encoder.readout import Readout

log = logging.getLogger(__name__)

# Of the largest number of the array: the difference that another order of summing may cause.
SAME = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}
_PROBE_LENGTHS = (24, 17, 9, 9, 5, 2, 1)
# transformers' name for attention by plain products, as the model's authors wrote it.
EAGER = "eager"


def choose_path(
    model: Any,
    readout: Readout,
    padded: PaddedPath,
    first_position: int,
    max_tokens: int,
    packed: bool = True,
    fast_linears: bool = True,
) -> ForwardPath:
    """The fastest path whose vectors equal those of one text at a time; the reasons are logged.

    The reference is the model's eager attention, as its authors wrote it: fused attention silently
    leaves out what it does not implement.

    Args:
        fast_linears: False leaves the linear layers as they are.
    Raises: UnsupportedArchitecture if the model does not run at all.
    """
    family = model.config.model_type
    rows = _probe_rows(model, max_tokens)
    single = SinglePath(model, readout)
    own_attention = model.config._attn_implementation
    _set_attention(model, EAGER)
    shortened, readout.shortened = readout.shortened, False
    try:
        expected = _reference(single, rows)
    except MODEL_ERRORS as error:
        raise does_not_run(family, error) from error
    readout.shortened = shortened
    linears, unpackable = FastLinears(model), _unpackable(model)
    if packed and not unpackable:
        path = PackedPath(model, readout, first_position)
        if fast_linears and not linears.unable():
            linears.on()
        packed_attention.register()
        _set_attention(model, packed_attention.NAME)
        if not _difference(path, rows, expected, model.dtype):
            return path  # everything at once, which nearly every model can: four times as fast
        linears.off()
        _set_attention(model, EAGER)
    if shortened and (reason := _difference(single, rows, expected, model.dtype)):
        readout.shortened = False
        log.info("encoder_full_last_layer family=%s reason=%s", family, reason)
    if packed:
        if fast_linears and not (reason := linears.unable()):
            linears.on()
            if reason := _difference(single, rows, expected, model.dtype):
                linears.off()
        if fast_linears and reason and model.device.type == "cpu":
            log.info("encoder_plain_linears family=%s reason=%s", family, reason)
        reason = unpackable
        if not reason:
            _set_attention(model, packed_attention.NAME)
            reason = _difference(path, rows, expected, model.dtype)
            if not reason:
                return path
        log.info("encoder_padded family=%s reason=%s", family, reason)
    for attention in dict.fromkeys((own_attention, EAGER)):
        _set_attention(model, attention)
        if not (reason := _difference(padded, rows, expected, model.dtype)):
            return padded
        log.info("encoder_unlike family=%s attention=%s reason=%s", family, attention, reason)
    # Convolutions, for example, read across the padding.
    log.warning("encoder_one_at_a_time family=%s reason=%s", family, reason)
    return single


def _set_attention(model: Any, name: str) -> None:
    """Sets the attention of a model that allows it; other models keep theirs."""
    current = model.config._attn_implementation
    if current != name and getattr(model, "_supports_attention_backend", False):
        model.set_attn_implementation(name)


def _unpackable(model: Any) -> str:
    """Why the model cannot be packed; empty if it may be tried."""
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} does not use transformers' attention interface"
    if "position_ids" not in accepted_parameters(model):
        return f"{type(model).__name__} takes no position_ids"
    return ""


def _probe_rows(model: Any, max_tokens: int) -> list[list[int]]:
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(1)
    lengths = [min(length, max_tokens) for length in _PROBE_LENGTHS]
    return [
        torch.randint(vocabulary // 2, vocabulary, (length,), generator=generator).tolist()
        for length in lengths
    ]


def _reference(single: SinglePath, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """What `_run` is to give: heads are the same with and without the standard vector."""
    with torch.inference_mode():
        heads, standard = single.run(rows, True)
    assert standard is not None
    return heads, standard, heads


def _run(path: ForwardPath, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode():
        heads, standard = path.run(rows, True)
        heads_alone, _ = path.run(rows, False)
    assert standard is not None
    return heads, standard, heads_alone


def _difference(
    path: ForwardPath, rows: Rows, expected: tuple[Tensor, ...], dtype: torch.dtype
) -> str:
    """How the path's vectors differ from the expected ones; empty if they are the same."""
    try:
        actual = _run(path, rows)
    except (packed_attention.CannotPack, *MODEL_ERRORS) as error:
        return type_and_line(error)
    for ours, theirs in zip(actual, expected, strict=True):
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        if not worst <= SAME[dtype]:
            return f"vectors differ by {worst:.1e}"
    return ""
