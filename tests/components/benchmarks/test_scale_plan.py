"""The plan of a very large corpus: from which figures it comes, and that the page shows it."""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale_plan
    from figure import PAGE, SCALE, figure, put_in
    from phase_rates import on_a_node
    from plan_items import (
        RANGE_BYTES,
        Corpus,
        channels_of_chunks,
        collection_of,
        load_steps,
        reconcile_sizes,
        verify_bytes,
    )
    from scale_hours import Work, shown, to_live
    from scale_requests import requests_of


def test_a_phase_is_known_by_its_largest_corpus() -> None:
    """One worker's seconds over what two are worth with the same corpus; the driver's are apart."""
    figures = {
        "reconcile, 1 worker, 200,000 chunks": figure([6.0], "s"),
        "reconcile, 1 to 2 workers, 200,000 chunks": figure([1.5], "times"),
        "reconcile, 1 worker, 1,000,000 chunks x 1 heads x 8": figure([9.0], "s"),
        "reconcile, 1 to 2 workers, 1,000,000 chunks x 1 heads x 8": figure([1.8], "times"),
        "reconcile, the driver's share of the CPU time, 1,000,000 chunks x 1 heads x 8": figure(
            [20.0], "%"
        ),
        "reconcile, the driver's share of the CPU time, 200,000 chunks": figure([1.0], "%"),
        "verify, 1 worker, 200,000 chunks": figure([8.0], "s"),
        "verify, 1 to 2 workers, 200,000 chunks": figure([2.0], "times"),
        "verify, the driver's share of the CPU time, 200,000 chunks": figure([0.0], "%"),
    }
    reconcile, verify = (on_a_node(figures, phase) for phase in ("reconcile", "verify"))
    assert astuple(reconcile) == pytest.approx((4.0, 1.8, 9.0, 1_000_000, 1, 8))
    assert astuple(verify) == pytest.approx((4.0, 0.0, 8.0, 200_000, 12, 32))
    assert verify.numbers == 2 * 200_000 * 12 * 32
    with pytest.raises(SystemExit, match="--only phases"):
        on_a_node(figures, "audit")


def test_what_a_verification_reads_does_not_grow_with_a_large_corpus() -> None:
    """Shards of 100,000 chunks: those of the sample, and 4 million chunks."""
    smaller, larger = (
        verify_bytes(Corpus(shards * 100_000, shards, 12, 32)) for shards in (1_000, 10_000)
    )
    assert larger < 1.1 * smaller


def test_the_part_of_the_runs_own_process_is_the_same_on_any_number_of_nodes() -> None:
    """So is what the index takes of one collection; and the plan says which is the most."""
    work = Work("", node_s=1_000.0, driver_s=30.0, at_least_s=20.0, why="channels")
    assert [work.seconds(nodes) for nodes in (1, 10, 100)] == [1_030.0, 130.0, 50.0]
    limits = [work.limit(nodes) for nodes in (10, 40, 100)]
    assert limits == ["the nodes", "the run's own process", "the run's own process"]
    assert Work("", 1_000.0, at_least_s=20.0, why="channels").limit(100) == "channels"


def test_reconcile_is_cut_as_the_product_cuts_it() -> None:
    """Every shard once; items of at most 128 MB of source, unless a shard is larger."""
    sizes = reconcile_sizes(Corpus(1_000_000, 1_000, 4, 8, shard_bytes=64_000_000))
    assert sum(sizes) == 1_000 * 64_000_000
    assert max(sizes) == 128_000_000


def test_a_load_is_cut_as_the_product_cuts_it() -> None:
    """Small heads stay whole; the chunks are ranges, are ended, and come last."""
    corpus = Corpus(20_000_000, 500, 4, 32)
    (first, ends, last), collections = load_steps(corpus)
    of_heads, of_chunks = (
        [item for item in first if (collections[collection_of(item)].kind == "chunks") is kind]
        for kind in (False, True)
    )
    assert len(of_heads) == 4
    assert max(item.num_bytes for item in of_heads) <= RANGE_BYTES
    assert len(of_chunks) > 4
    assert sum(getattr(item, "num_rows", 0) for item in of_chunks) == corpus.chunks
    assert (ends, [collection_of(item) for item in last]) == ([], [4])
    (first, ends, last), _ = load_steps(Corpus(1_000_000_000, 8_438, 32, 128))
    assert len(first) == pytest.approx(32 * 64 + 256, abs=33)  # a collection may have one more
    assert (len(ends), len(last)) == (32, 1)


@pytest.mark.parametrize(
    ("corpus", "channels"),
    [
        (Corpus(1_000_000_000, 8_438, 32, 128), 16),
        (Corpus(100_000_000, 3_375, 12, 32), 2),
        (Corpus(100_000, 65, 12, 32), 1),
    ],
)
def test_the_chunks_have_as_many_channels_as_their_ranges_fill(
    corpus: Corpus, channels: int
) -> None:
    """As the product creates the collection: a gigabyte of vectors for each channel of a range."""
    assert channels_of_chunks(corpus) == channels


def test_cores_of_a_node_count_for_all_but_the_channels() -> None:
    """The hours to the live version are those of twice the nodes if a node has twice the cores."""
    two, four = (
        scale_plan.planned(10**9, 32, 128, scale_plan.Assumed(node_cores=cores)) for cores in (2, 4)
    )
    assert to_live(four, 8) == pytest.approx(to_live(two, 16))
    assert to_live(two, 8) > to_live(four, 8)


def test_requests_grow_with_the_shards_and_receipts_are_read_again_where_there_are_many() -> None:
    """A process remembers 1,024 of them."""
    few, many = (
        requests_of(scale_plan.planned(chunks, 12, 32, scale_plan.Assumed(shard_mb=16)))
        for chunks in (10**7, 10**8)
    )
    assert list(few) == ["plan", "embed", "reconcile", "load", "verify", "audit"]
    assert many["embed"][0] == pytest.approx(10 * few["embed"][0])
    num_shards = scale_plan.planned(10**8, 12, 32, scale_plan.Assumed(shard_mb=16)).shards
    # One more GET for each file of a shard that a load reads: of 12 heads, and of the chunks.
    assert many["load"][1] == pytest.approx(10 * few["load"][1] + 13 * num_shards)


def test_the_page_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python benchmarks/scale_plan.py --page` writes it there."""
    page = PAGE.read_text("utf-8")
    for mark, arguments in scale_plan.PAGES.items():
        monkeypatch.setattr(sys, "argv", ["scale_plan.py", *arguments.split()])
        scale_plan.main()
        printed = capsys.readouterr().out.strip()
        assert f"<!-- {mark}: begin -->\n{printed}\n<!-- {mark}: end -->" in page, mark


def test_the_page_shows_the_hours_of_the_simulation() -> None:
    """As `python benchmarks/simulate.py --write` has kept them."""
    page = PAGE.read_text("utf-8")
    table = page.partition("<!-- simulation: begin -->")[2].partition("<!-- simulation: end")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip(" *") for cell in line.split("|")] for line in lines[2:]]
    figures = json.loads(SCALE.read_text())
    simulated = [name for name in figures if name.startswith("simulated, ")]
    assert len(rows) == len(simulated) > 0
    for _, phase, _, where, hours, worst, *_ in rows:
        [one] = [figures[name] for name in simulated if name.endswith(f": {phase} on {where}")]
        assert (hours, worst) == (shown(one["value"]), shown(one["high"]))
    of_live = ": corpus to live on 64 GPUs, 32 nodes"
    [live] = [figures[name] for name in simulated if name.endswith(of_live)]
    told = f"simulated {live['value']:.1f} h, and {live['high']:.1f} h with nodes lost"
    plan = scale_plan.planned(10**9, 32, 128, scale_plan.Assumed())
    assert f"32 nodes: planned {to_live(plan, 32):.1f} h, {told}" in table


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    """A page that lacks one of them is refused and stays as it was."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    put_in(page, "a", "new\n")
    assert page.read_text() == "before\n<!-- a: begin -->\nnew\n<!-- a: end -->\nafter\n"
    with pytest.raises(AssertionError, match="b: begin"):
        put_in(page, "b", "new")
    text = "<!-- b: end -->\n<!-- b: begin -->\nold\nafter\n"
    page.write_text(text)
    with pytest.raises(AssertionError, match="b: end"):
        put_in(page, "b", "new")
    assert page.read_text() == text


@pytest.mark.parametrize("setting", ["--set tokens=64", "--chunks 5", "--heads 12", "--dim 32"])
def test_the_page_is_not_written_for_another_plan(
    setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--page` with settings of one's own is refused, not ignored."""
    monkeypatch.setattr(sys, "argv", ["scale_plan.py", "--page", *setting.split()])
    monkeypatch.setattr(scale_plan, "put_in", lambda *_: pytest.fail("written"))
    with pytest.raises(SystemExit):
        scale_plan.main()
    assert "without other settings" in capsys.readouterr().err
