"""Two ways to run texts through a model: packed without padding, or padded.

Packed wherever the architecture lets its attention be chosen and takes positions; a model is
packed only after it has shown on a few texts that both ways give the same vectors.

Shape legend: N texts, B rows, T tokens of a row, H heads, D head dimension, E model width.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mrag_pipeline.domain.packing import packed_batches, padded_batches
from mrag_pipeline.encoder import packed_attention
from mrag_pipeline.encoder.linear_layers import FastLinears
from mrag_pipeline.encoder.packed_rows import Layout, texts_in_row
from mrag_pipeline.encoder.readout import Readout
from mrag_pipeline.errors import UnsupportedArchitecture

log = logging.getLogger(__name__)

PaddingSide = Literal["left", "right"]
Rows = Sequence[Sequence[int]]

# Longer rows were no faster on a CPU: 512 to 8,192 tokens are within 10% on MiniLM.
CPU_ROW_TOKENS = 2_048
# Rows of ever new lengths break up the heap and make oneDNN plan anew: 240 of them took 540 MB,
# of lengths in whole steps 150 MB. Filling up a short row would cost more than it saves.
CPU_ROW_STEP = 32
_FILLED_FROM = 256
# Of the largest number of the array; what summing in another order may change.
SAME = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}
_PROBE_LENGTHS = (24, 17, 9, 9, 5, 2, 1)
# transformers' name for attention by plain products, as the model's authors wrote it.
EAGER = "eager"
# What model code raises when it is run in a way that it was not written for.
_MODEL_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class Path(Protocol):
    """Token ids to vectors, in one forward pass."""

    name: str

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`."""

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32 on the model's device; nothing waits for them."""


@dataclass(frozen=True, slots=True)
class _PaddedBatch:
    mask: Tensor  # (B, T), True where a token is
    first: Tensor  # (B,)
    last: Tensor  # (B,)

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        if pooling == "mean":
            weights = self.mask.unsqueeze(-1).to(torch.float32)
            return (states.float() * weights).sum(1) / weights.sum(1)
        at = self.first if pooling == "cls" else self.last
        return states[torch.arange(len(states), device=states.device), at].float()


class PaddedPath:
    """Each text a row, filled up to the longest: any architecture."""

    name = "padded"

    def __init__(
        self,
        model: Any,
        readout: Readout,
        pad_id: int,
        first_position: int,
        side: PaddingSide = "right",
    ) -> None:
        self._model = model
        self._readout = readout
        self._pad_id = pad_id
        self._first_position = first_position
        self._accepts = _parameters(model)
        # Without positions of its own the model would count the padding on the left.
        self._side = side if "position_ids" in self._accepts else "right"

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`, padding counted."""
        return padded_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for row, tokens in enumerate(rows):
            at = width - len(tokens) if self._side == "left" else 0
            ids[row, at : at + len(tokens)] = torch.tensor(tokens)
            mask[row, at : at + len(tokens)] = True
        device = self._model.device
        ids, mask = ids.to(device), mask.to(device)
        count = mask.sum(1)
        start = width - count if self._side == "left" else torch.zeros_like(count)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long()}
        # On the right padding shifts nothing, and the model knows its positions best.
        if self._side == "left":
            filled = torch.arange(width, device=device) - start[:, None] + self._first_position
            inputs["position_ids"] = torch.where(mask, filled, max(self._first_position - 1, 0))
        if "use_cache" in self._accepts:
            inputs["use_cache"] = False
        batch = _PaddedBatch(mask, start, start + count - 1)
        return self._readout.run(inputs, batch, want_standard)


class SinglePath:
    """One text at a time, as the model is meant to be called: exact whatever it does."""

    name = "one at a time"

    def __init__(self, model: Any, readout: Readout) -> None:
        self._model = model
        self._readout = readout

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """As the padded path's: memory is bounded, though texts run alone."""
        return padded_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        found = []
        for row in rows:
            ids = torch.tensor([row], device=self._model.device)
            ends = torch.tensor([0, len(row) - 1], device=ids.device)
            batch = _PaddedBatch(torch.ones_like(ids, dtype=torch.bool), ends[:1], ends[1:])
            found.append(self._readout.run({"input_ids": ids}, batch, want_standard))
        heads = torch.cat([heads for heads, _ in found])
        kept = [standard for _, standard in found if standard is not None]
        return heads, torch.cat(kept) if want_standard else None


@dataclass(frozen=True, slots=True)
class _PackedBatch:
    layout: Layout

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        return self.layout.pooled(states.reshape(-1, states.shape[-1]), pooling)


class PackedPath:
    """All texts in one row, each attending to itself: no padding."""

    name = "packed"

    def __init__(self, model: Any, readout: Readout, first_position: int) -> None:
        self._model = model
        self._readout = readout
        self._first_position = first_position
        self._accepts = _parameters(model)
        self._read_in = readout.read_in()
        packed_attention.cut_queries(readout.last_block)

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`."""
        if self._model.device.type == "cpu":
            max_tokens = min(max_tokens, CPU_ROW_TOKENS)
        return packed_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        device = self._model.device
        num_texts = len(rows)
        if device.type == "cpu" and (missing := _missing(sum(map(len, rows)))):
            # One more text, which nobody reads.
            rows = [*rows, [rows[-1][0]] * missing]
        layout = Layout(
            tuple(map(len, rows)),
            device,
            self._readout.read_at(want_standard),
            self._read_in,
        )
        positions = layout.positions + self._first_position
        inputs: dict[str, Any] = {
            "input_ids": texts_in_row(rows, device),
            "position_ids": positions.unsqueeze(0),
        }
        if "use_cache" in self._accepts:
            inputs["use_cache"] = False
        with packed_attention.packed(layout):
            heads, standard = self._readout.run(inputs, _PackedBatch(layout), want_standard)
        return heads[:num_texts], None if standard is None else standard[:num_texts]


def choose_path(
    model: Any,
    readout: Readout,
    padded: PaddedPath,
    first_position: int,
    max_tokens: int,
    packed: bool = True,
) -> Path:
    """The fastest path that gives what the model gives one text at a time; said in the log.

    The yardstick is the model's own attention written out (eager): what fused ones leave out,
    they leave out silently.

    Raises: UnsupportedArchitecture if the model does not run at all.
    """
    family = model.config.model_type
    rows = _probe_rows(model, max_tokens)
    single = SinglePath(model, readout)
    own = model.config._attn_implementation
    _attend_by(model, EAGER)
    shortened, readout.shortened = readout.shortened, False
    try:
        expected = _run(single, rows)
    except _MODEL_ERRORS as error:
        raise UnsupportedArchitecture(
            f"{family}: does not run on token ids alone: {_first_line(error)}",
            "a text encoder or decoder",
            "use another model",
        ) from error
    readout.shortened = shortened
    if shortened and (reason := _unlike(single, rows, expected, model.dtype)):
        readout.shortened = False
        log.info("encoder_full_last_layer family=%s reason=%s", family, reason)
    if packed:
        linears = FastLinears(model)
        if not (reason := linears.unable()):
            linears.on()
            if reason := _unlike(single, rows, expected, model.dtype):
                linears.off()
        if reason and model.device.type == "cpu":
            log.info("encoder_plain_linears family=%s reason=%s", family, reason)
        reason = _unpackable(model)
        if not reason:
            packed_attention.register()
            _attend_by(model, packed_attention.NAME)
            path = PackedPath(model, readout, first_position)
            reason = _unlike(path, rows, expected, model.dtype)
            if not reason:
                return path
        log.info("encoder_padded family=%s reason=%s", family, reason)
    for attention in dict.fromkeys((own, EAGER)):
        _attend_by(model, attention)
        if not (reason := _unlike(padded, rows, expected, model.dtype)):
            return padded
        log.info("encoder_unlike family=%s attention=%s reason=%s", family, attention, reason)
    # Convolutions and the like, which read across the padding.
    log.warning("encoder_one_at_a_time family=%s reason=%s", family, reason)
    return single


def _attend_by(model: Any, name: str) -> None:
    """Sets the attention of a model that lets it be chosen; others keep theirs."""
    chosen = model.config._attn_implementation
    if chosen != name and getattr(model, "_supports_attention_backend", False):
        model.set_attn_implementation(name)


def _missing(num_tokens: int) -> int:
    """To the next whole step."""
    return -num_tokens % CPU_ROW_STEP if num_tokens >= _FILLED_FROM else 0


def _unpackable(model: Any) -> str:
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} does not use transformers' attention interface"
    if "position_ids" not in _parameters(model):
        return f"{type(model).__name__} takes no position_ids"
    return ""


def _probe_rows(model: Any, max_tokens: int) -> list[list[int]]:
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    numbers = torch.Generator().manual_seed(1)
    lengths = [min(length, max_tokens) for length in _PROBE_LENGTHS]
    return [
        torch.randint(vocabulary // 2, vocabulary, (length,), generator=numbers).tolist()
        for length in lengths
    ]


def _run(path: Path, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode():
        heads, standard = path.run(rows, True)
        alone, _ = path.run(rows, False)
    assert standard is not None
    return heads, standard, alone


def _unlike(path: Path, rows: Rows, expected: tuple[Tensor, ...], dtype: torch.dtype) -> str:
    """Why the path does not give the expected vectors; empty if it does."""
    try:
        found = _run(path, rows)
    except (packed_attention.CannotPack, *_MODEL_ERRORS) as error:
        return _first_line(error)
    for ours, theirs in zip(found, expected, strict=True):
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        if not worst <= SAME[dtype]:
            return f"vectors differ by {worst:.1e}"
    return ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _parameters(model: Any) -> frozenset[str]:
    return frozenset(inspect.signature(model.forward).parameters)
