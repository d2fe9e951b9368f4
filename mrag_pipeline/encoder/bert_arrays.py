"""BERT's forward pass on numpy arrays: for a few texts, before torch would be imported.

Texts are token rows one after the other, without padding; each attends only to itself.

Source: transformers 5.23, `models/bert/modeling_bert.py` with `hidden_act` gelu.

Shape legend: N texts, T tokens of all texts, t of one, H heads, D head dimension, E model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Rows that go through the feed-forward layers together: their states stay in the core's cache.
_BLOCK_ROWS = 128
_SQRT_HALF = np.float32(0.5**0.5)
# erfc(z) = (a1 t + ... + a5 t^5) exp(-z^2), t = 1 / (1 + p z), to 1.5e-7: Abramowitz and Stegun
# 7.1.26. From a5 to a1.
_P = np.float32(0.3275911)
_A = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Array  # (in, out)
    bias: Array  # (out,)

    def __call__(self, states: Array) -> Array:
        result: Array = states @ self.weight
        result += self.bias
        return result


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Array
    bias: Array
    epsilon: float

    def __call__(self, states: Array) -> Array:
        """In place."""
        states -= states.mean(-1, keepdims=True)
        variance = np.square(states).mean(-1, keepdims=True)
        states /= np.sqrt(variance + np.float32(self.epsilon))
        states *= self.weight
        states += self.bias
        return states


@dataclass(frozen=True, slots=True)
class _Layer:
    attention: _Linear  # queries, scaled; keys; values: (E, 3E)
    projection: _Linear
    attention_norm: _Norm
    up: _Linear
    down: _Linear
    norm: _Norm


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of a config.json."""

    num_layers: int
    num_heads: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    num_positions: int
    num_types: int
    epsilon: float


def weight_shapes(shape: BertShape) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all weights that the pass needs."""
    width, inner = shape.hidden_size, shape.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.vocab_size, width),
        "embeddings.position_embeddings.weight": (shape.num_positions, width),
        "embeddings.token_type_embeddings.weight": (shape.num_types, width),
        **_pair("embeddings.LayerNorm", (width,)),
    }
    for number in range(shape.num_layers):
        layer = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            shapes |= _pair(f"{layer}.attention.self.{name}", (width, width))
        shapes |= _pair(f"{layer}.attention.output.dense", (width, width))
        shapes |= _pair(f"{layer}.attention.output.LayerNorm", (width,))
        shapes |= _pair(f"{layer}.intermediate.dense", (inner, width))
        shapes |= _pair(f"{layer}.output.dense", (width, inner))
        shapes |= _pair(f"{layer}.output.LayerNorm", (width,))
    return shapes


def _pair(name: str, weight: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


class BertArrays:
    """The network without its pooler. Threads may share it."""

    def __init__(self, shape: BertShape, weights: Mapping[str, Array]) -> None:
        """Takes the weights that `weight_shapes` names."""
        self._num_heads = shape.num_heads
        self._words = weights["embeddings.word_embeddings.weight"]
        # Every token has the first type.
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._type = weights["embeddings.token_type_embeddings.weight"][0]

        def linear(name: str) -> _Linear:
            return _Linear(weights[f"{name}.weight"].T, weights[f"{name}.bias"])

        def norm(name: str) -> _Norm:
            return _Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], shape.epsilon)

        def attention(layer: str) -> _Linear:
            query, key, value = (
                linear(f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
            )
            scale = np.float32((shape.hidden_size // shape.num_heads) ** -0.5)
            return _Linear(
                np.concatenate([query.weight * scale, key.weight, value.weight], axis=1),
                np.concatenate([query.bias * scale, key.bias, value.bias]),
            )

        self._norm = norm("embeddings.LayerNorm")
        self._layers = [
            _Layer(
                attention(f"encoder.layer.{number}"),
                linear(f"encoder.layer.{number}.attention.output.dense"),
                norm(f"encoder.layer.{number}.attention.output.LayerNorm"),
                linear(f"encoder.layer.{number}.intermediate.dense"),
                linear(f"encoder.layer.{number}.output.dense"),
                norm(f"encoder.layer.{number}.output.LayerNorm"),
            )
            for number in range(shape.num_layers)
        ]

    def run(
        self, rows: Sequence[Sequence[int]], layers: Sequence[int], want_states: bool
    ) -> tuple[list[Array], Array | None]:
        """What the heads of these layers attended to (T, H*D) each, and the last states (T, E).

        Args:
            rows: the token ids of each text, none empty.
            layers: from 0, ascending.
            want_states: False ends the pass at the last of these layers.
        """
        lengths = np.array([len(row) for row in rows])
        ids = np.concatenate([np.asarray(row) for row in rows])
        positions = np.concatenate([np.arange(length) for length in lengths])
        ends = np.cumsum(lengths)
        states = self._words[ids] + self._positions[positions]
        states += self._type
        states = self._norm(states)
        read: list[Array] = []
        for number, layer in enumerate(self._layers):
            attended = self._attended(layer, states, ends)
            if number in layers:
                read.append(attended)
                if number == layers[-1] and not want_states:
                    return read, None
            states = layer.attention_norm(layer.projection(attended) + states)
            states = _fed_forward(layer, states)
        return read, states

    def _attended(self, layer: _Layer, states: Array, ends: NDArray[np.int64]) -> Array:
        """(T, H*D), by softmax attention within each text."""
        num_tokens, width = states.shape
        # (3, H, T, D)
        parts = layer.attention(states).reshape(num_tokens, 3, self._num_heads, -1)
        query, key, value = parts.transpose(1, 2, 0, 3)
        attended = np.empty((num_tokens, self._num_heads, value.shape[-1]), np.float32)
        begin = 0
        for end in ends.tolist():
            scores = query[:, begin:end] @ key[:, begin:end].transpose(0, 2, 1)  # (H, t, t)
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            attended[begin:end] = (scores @ value[:, begin:end]).transpose(1, 0, 2)
            begin = end
        return attended.reshape(num_tokens, width)


def _fed_forward(layer: _Layer, states: Array) -> Array:
    result = np.empty_like(states)
    for start in range(0, len(states), _BLOCK_ROWS):
        block = states[start : start + _BLOCK_ROWS]
        result[start : start + _BLOCK_ROWS] = layer.norm(layer.down(gelu(layer.up(block))) + block)
    return result


def gelu(states: Array) -> Array:
    """The states, each times the normal distribution's share below it, to 1e-7 of it."""
    z = np.abs(states)
    z *= _SQRT_HALF
    t = z * _P
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    tail = t * _A[0]
    for a in _A[1:]:
        tail += a
        tail *= t
    z *= z
    np.negative(z, out=z)
    np.exp(z, out=z)
    tail *= z  # erfc(|x| / sqrt 2)
    tail *= np.float32(0.5)
    np.subtract(np.float32(1.0), tail, out=tail, where=states >= 0)
    tail *= states
    return tail
