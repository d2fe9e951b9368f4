"""The plan of a very large corpus: from which figures it comes, and that the page shows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale_plan
    from figure import PAGE, SCALE, figure, put_in
    from phase_rates import Measured, on_a_node, verify_bytes


def test_a_phase_is_known_by_its_largest_corpus() -> None:
    """The node's seconds are one worker's over what two are worth with the same corpus."""
    figures = {
        "reconcile, 1 worker, 200,000 chunks": figure([6.0], "s"),
        "reconcile, 1 to 2 workers, 200,000 chunks": figure([1.5], "times"),
        "reconcile, 1 worker, 1,000,000 chunks x 1 heads x 8": figure([9.0], "s"),
        "reconcile, 1 to 2 workers, 1,000,000 chunks x 1 heads x 8": figure([1.8], "times"),
        "verify, 1 worker, 200,000 chunks": figure([8.0], "s"),
        "verify, 1 to 2 workers, 200,000 chunks": figure([2.0], "times"),
    }
    assert on_a_node(figures, "reconcile") == Measured(5.0, 1_000_000, 1, 8)
    assert on_a_node(figures, "verify") == Measured(4.0, 200_000, 12, 32)
    assert on_a_node(figures, "verify").numbers == 2 * 200_000 * 12 * 32
    with pytest.raises(SystemExit, match="--only phases"):
        on_a_node(figures, "audit")


def test_what_a_verification_reads_does_not_grow_with_a_large_corpus() -> None:
    """Shards of 100,000 chunks: those of the sample, and 4 million chunks."""
    smaller, larger = (
        sum(sum(sizes) for sizes in verify_bytes(shards * 100_000, shards, 12, 32))
        for shards in (1_000, 10_000)
    )
    assert larger < 1.1 * smaller


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
    shown = page.partition("<!-- simulation: begin -->")[2].partition("<!-- simulation: end")[0]
    rows = [[cell.strip(" *") for cell in line.split("|")] for line in shown.splitlines()[3:]]
    figures = json.loads(SCALE.read_text())
    simulated = [name for name in figures if name.startswith("simulated, ")]
    assert len(rows) == len(simulated) > 0
    for _, phase, _, where, hours, worst, *_ in rows:
        [one] = [figures[name] for name in simulated if name.endswith(f": {phase} on {where}")]
        assert hours == f"{one['value']:.1f}"
        assert float(worst) >= float(hours)
    of_live = ": corpus to live on 64 GPUs, 32 nodes"
    [live] = [figures[name] for name in simulated if name.endswith(of_live)]
    assert f"32 such nodes takes {live['value']:.1f} h" in page
    assert f"With nodes lost it takes {live['high']:.1f} h" in page


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
