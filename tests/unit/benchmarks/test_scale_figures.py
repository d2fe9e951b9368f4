"""The figures of scale are flat, and each part keeps its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    import scale_figures
    from figure import SCALE, figure, keep, table
    from load_timing import Run, own_part


def test_every_figure_has_a_value_between_its_lowest_and_its_highest() -> None:
    """And a unit; nothing is nested."""
    figures = json.loads(SCALE.read_text())
    assert figures
    for name, one in figures.items():
        assert list(one) == ["value", "low", "high", "unit"], name
        assert one["low"] <= one["value"] <= one["high"], name


def test_figures_of_other_names_stay(tmp_path: Path) -> None:
    """A part that is measured again replaces its own, and leaves nothing beside the file."""
    file = tmp_path / "scale.json"
    keep(file, {"a": figure([1.0], "s"), "b": figure([2.0], "s")})
    keep(file, {"a": figure([3.0, 5.0, 4.0], "s")})
    kept = json.loads(file.read_text())
    assert kept == {"a": figure([3.0, 4.0, 5.0], "s"), "b": figure([2.0], "s")}
    assert list(tmp_path.iterdir()) == [file]
    keep(file, {"part: x": figure([1.0], "s"), "part: y": figure([1.0], "s")})
    keep(file, {"part: y": figure([2.0], "s")}, instead_of="part: ")
    assert json.loads(file.read_text()) == kept | {"part: y": figure([2.0], "s")}
    assert list(table(kept))[2:] == ["| a | 4.0 | 3.0 to 5.0 | s |", "| b | 2.0 |  | s |"]


@pytest.mark.parametrize("part", scale_figures.PARTS, ids=lambda part: str(part.name))
def test_a_parts_scripts_are_there(part: scale_figures.Part) -> None:
    """By their names; those with `--write` know it."""
    for command in part.commands:
        script, *options = command.split()
        text = (scale_figures.FOLDER / script).read_text()
        assert all(f'"{option}"' in text for option in options if option.startswith("--"))


def test_a_part_that_fails_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command fails at its end, and says how the part is run again."""
    ran: list[str] = []

    def fake(command: list[str]) -> bool:
        ran.append(Path(command[1]).name)
        return "load.py" not in command[1]

    monkeypatch.setattr(scale_figures, "ran", fake)
    monkeypatch.setattr(sys, "argv", ["scale_figures.py", "--only", "simulate", "load"])
    assert scale_figures.main() == 1
    assert ran == ["load.py", "simulate.py"]
    assert capsys.readouterr().out.endswith("scale_figures.py --only load\n")


def test_what_is_ours_of_a_load() -> None:
    """Two loads of a million rows: 2 and 4 s of our CPU, 20 and 10 s long, the server's 8 and 6."""
    runs = [Run(20.0, 2.0, 8.0, {}), Run(10.0, 4.0, 6.0, {})]
    assert own_part("load", runs, 1_000_000) == {
        "load": figure([10.0, 20.0], "s"),
        "load: our CPU a row": figure([2.0, 4.0], "us"),
        "load: our CPU, of the time that it takes": figure([10.0, 40.0], "%"),
        "load: our CPU, of all CPU time": figure([20.0, 40.0], "%"),
    }


def test_a_server_that_was_not_started_here_has_no_cpu_time() -> None:
    """So no share of all is told; and nothing is told of a way that was not run."""
    assert len(own_part("load", [Run(20.0, 2.0, 0.0, {})], 10)) == 3
    assert own_part("load", [], 10) == {}
