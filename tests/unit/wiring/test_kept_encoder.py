from __future__ import annotations

from typing import Any

from mrag_pipeline.wiring.kept_encoder import forget_encoder, keep_encoder, kept_or


class _Loads:
    """Counts; each load is another object."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Any:
        self.count += 1
        return object()


def test_a_run_loads_one_encoder_once_and_keeps_it_no_longer() -> None:
    """Outside of a run everybody loads their own."""
    load = _Loads()
    with keep_encoder():
        first = kept_or(("a",), load)
        assert kept_or(("a",), load) is first
    assert kept_or(("a",), load) is not first
    assert load.count == 2


def test_another_encoder_replaces_it() -> None:
    """Two may be more than the memory holds."""
    load = _Loads()
    with keep_encoder():
        first = kept_or(("a",), load)
        kept_or(("b",), load)
        assert kept_or(("a",), load) is not first


def test_it_is_let_go_where_workers_need_the_memory() -> None:
    """And loaded again by whoever asks after that."""
    load = _Loads()
    with keep_encoder():
        first = kept_or(("a",), load)
        forget_encoder()
        assert kept_or(("a",), load) is not first
    forget_encoder()
