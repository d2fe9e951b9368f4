from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mrag_pipeline.encoder import attention
from mrag_pipeline.encoder.attention import Rules, by_padding, by_runs, by_varlen
from mrag_pipeline.encoder.packed_rows import Layout

CPU = torch.device("cpu")


def one_by_one(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], rules: Rules) -> Tensor:
    """Attention by definition: each text's softmax over the positions it may see, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    group = q.shape[0] // k.shape[0]
    out = torch.zeros(q.shape[1], q.shape[0], v.shape[-1], dtype=torch.float64)
    start = 0
    for length in lengths:
        for head in range(q.shape[0]):
            for row in range(length):
                places = [
                    j
                    for j in range(length)
                    if (j <= row or not rules.causal)
                    and (rules.window is None or abs(row - j) < rules.window)
                ]
                keys = k[head // group, start : start + length][places]
                scores = keys @ q[head, start + row] * rules.scale
                if rules.softcap is not None:
                    scores = rules.softcap * torch.tanh(scores / rules.softcap)
                seen = v[head // group, start : start + length][places]
                out[start + row, head] = scores.softmax(0) @ seen
        start += length
    return out


def flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ends_q: Tensor,
    ends_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool = False,
) -> Tensor:
    """Computes what a variable-length flash kernel does: queries align with the last keys."""
    assert enable_gqa or q.shape[1] == k.shape[1]
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[-1])
    group = q.shape[1] // k.shape[1]
    left, right = window_size
    for a, b, c, d in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        assert b - a <= max_q
        assert d - c <= max_k
        shift = (d - c) - (b - a)
        for row in range(a, b):
            position = row - a + shift
            low = 0 if left < 0 else max(0, position - left)
            high = d - c if right < 0 else min(int(d - c), position + right + 1)
            for head in range(q.shape[1]):
                keys = k[c + low : c + high, head // group]
                weights = (keys @ q[row, head] * scale).softmax(0)
                out[row, head] = weights @ v[c + low : c + high, head // group]
    return out


@st.composite
def problems(draw: Any) -> tuple[Tensor, Tensor, Tensor, list[int], Rules]:
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    key_heads = draw(st.sampled_from([1, 2]))
    group = draw(st.sampled_from([1, 2]))
    torch.manual_seed(draw(st.integers(0, 99)))
    q = torch.randn(key_heads * group, sum(lengths), 4)
    k, v = torch.randn(2, key_heads, sum(lengths), 4)
    rules = Rules(
        causal=draw(st.booleans()),
        window=draw(st.sampled_from([None, 1, 2, 4])),
        softcap=draw(st.sampled_from([None, 2.0])),
        scale=draw(st.sampled_from([0.5, 1.0])),
    )
    return q, k, v, lengths, rules


@settings(max_examples=80)
@given(problems())
@pytest.mark.parametrize("kernel", [by_runs, by_padding])
def test_each_text_attends_to_itself_alone(kernel: Any, problem: Any) -> None:
    """Equals the definition: causal or not, any window, capped or not, grouped or not."""
    q, k, v, lengths, rules = problem
    outputs = kernel(q, k, v, Layout(tuple(lengths), CPU), rules)
    torch.testing.assert_close(
        outputs.double(), one_by_one(q, k, v, lengths, rules), atol=1e-5, rtol=1e-5
    )


@settings(max_examples=80)
@given(problems(), st.sampled_from(["cls", "last"]))
def test_rows_read_alone_equal_the_full_result(problem: Any, read_at: Any) -> None:
    """The rows that are read are the same as if all rows had been computed."""
    q, k, v, lengths, rules = problem
    layout = Layout(tuple(lengths), CPU)
    rows = layout.first if read_at == "cls" else layout.last
    outputs = by_runs(q, k, v, layout, rules, read_at)
    torch.testing.assert_close(
        outputs[rows].double(), one_by_one(q, k, v, lengths, rules)[rows], atol=1e-5, rtol=1e-5
    )


@settings(max_examples=60)
@given(problems(), st.sampled_from(["", "cls", "last"]))
def test_the_flash_kernel_gets_equivalent_arguments(problem: Any, read_at: Any) -> None:
    """Windows, causality, groups and single queries are passed in flash attention's terms."""
    q, k, v, lengths, rules = problem
    rules = Rules(rules.causal, rules.window, None, rules.scale)
    layout = Layout(tuple(lengths), CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_varlen", lambda: flash)
        patch.setattr(
            attention, "_varlen_parameters", lambda: {"scale", "window_size", "enable_gqa"}
        )
        outputs = by_varlen(q, k, v, layout, rules, read_at)
    rows: Any = {"": slice(None), "cls": layout.first, "last": layout.last}[read_at]
    expected = one_by_one(q, k, v, lengths, rules)
    torch.testing.assert_close(outputs[rows].double(), expected[rows], atol=1e-5, rtol=1e-5)


def test_an_older_flash_kernel_gets_the_arguments_it_knows() -> None:
    """Only `is_causal` is known to torch 2.10: queries are scaled, key heads repeated."""
    seen: dict[str, Any] = {}

    def old(q: Tensor, k: Tensor, v: Tensor, *ends: Any, is_causal: bool = False) -> Tensor:
        seen.update(causal=is_causal, heads=k.shape[1])
        window = (-1, 0) if is_causal else (-1, -1)
        return flash(q, k, v, *ends, scale=q.shape[-1] ** -0.5, window_size=window)

    q, (k, v) = torch.randn(4, 9, 4), torch.randn(2, 2, 9, 4)
    rules = Rules(causal=True, window=None, softcap=None, scale=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_varlen", lambda: old)
        patch.setattr(attention, "_varlen_parameters", lambda: {"is_causal"})
        outputs = by_varlen(q, k, v, Layout((4, 5), CPU), rules)
    assert seen == {"causal": True, "heads": 4}
    expected = one_by_one(q, k, v, [4, 5], rules)
    torch.testing.assert_close(outputs.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "expected"), [("cls", [0, 2, 5]), ("last", [1, 4, 5]), ("mean", [0.5, 3, 5])]
)
def test_each_text_is_pooled_over_its_own_tokens(pooling: str, expected: list[float]) -> None:
    """Lengths 2, 3, 1 over the rows 0 to 5."""
    layout = Layout((2, 3, 1), CPU)
    states = torch.arange(6.0)[:, None]
    assert layout.pooled(states, pooling)[:, 0].tolist() == expected


def test_positions_restart_with_each_text() -> None:
    """Consecutive texts of equal length form one run."""
    layout = Layout((3, 2, 2), CPU)
    assert layout.positions.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert layout.runs == ((0, 1, 3), (3, 2, 2))
