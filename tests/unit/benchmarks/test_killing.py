"""What the random kills draw, what they keep, and which ends of a command they call a fault."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    from killing import deck, verdict, victims
    from killing.journal import Journal, Kill, Round, figures, tables


@dataclass(frozen=True)
class Card:
    """As much of a kind of round as is dealt."""

    name: str
    in_deck: int


KINDS = (Card("often", 5), Card("rare", 2), Card("once", 1))


# ------------------------------------------------------------------ what is drawn
@pytest.mark.parametrize("seed", [1, 2, 913642])
def test_each_deck_has_each_kind_in_its_share(seed: int) -> None:
    """So that no kind is left out of a short run; the second deck is in another order."""
    dealt = [deck.kind_of(KINDS, seed, number).name for number in range(16)]
    assert Counter(dealt[:8]) == Counter(dealt[8:]) == {"often": 5, "rare": 2, "once": 1}
    orders = {tuple(dealt[start : start + 8]) for start in (0, 8)}
    others = {deck.kind_of(KINDS, seed + 1, number).name for number in range(8)}
    assert others == {"often", "rare", "once"}
    assert len(orders) == 2


def test_a_round_draws_from_seed_and_number_alone() -> None:
    """A run that goes on later, or with more jobs, draws the same."""
    first = [deck.chance_of(7, number).random() for number in (0, 1, 2)]
    again = [deck.chance_of(7, number).random() for number in (2, 1, 0)]
    assert first == again[::-1]
    assert len(set(first)) == 3
    assert deck.chance_of(8, 0).random() != first[0]


def test_victims_come_in_turn() -> None:
    """Each as often as its weight, before all begin again."""
    drawn = list(islice(deck.in_turn({"driver": 1, "GCS": 2}, random.Random(3)), 300))
    for start in range(0, 300, 3):
        assert sorted(drawn[start : start + 3]) == ["GCS", "GCS", "driver"]
    assert len({tuple(drawn[start : start + 3]) for start in range(0, 300, 3)}) == 3


def test_parts_of_ray_are_killed_where_ray_runs() -> None:
    """A worker has to be there; on Lite one process loads. Anything else dies in any phase."""
    phases = ["start", "plan", "embed", "reconcile", "load", "gate"]
    assert deck.phases_for(victims.WORKER, phases, is_shared=False) == ["embed", "reconcile"]
    assert deck.phases_for(victims.GCS, phases, is_shared=True) == ["embed", "reconcile", "load"]
    assert deck.phases_for(victims.DRIVER, phases, is_shared=False) == phases
    assert deck.phases_for(victims.RAYLET, ["retire"], is_shared=True) == ["retire"]
    assert deck.phases_for(victims.WORKER, ["start", "export"], is_shared=True) == ["export"]


def test_every_phase_on_workers_loses_what_ends_the_run_and_what_does_not() -> None:
    """As often as any other; what the command survives comes in the run that does the phase."""
    phases, chance = ["embed", "load", "verify"], random.Random(5)
    ending, survived = iter(lambda: victims.DRIVER, ""), iter(lambda: victims.WORKER, "")
    counts: Counter[deck.Strike] = Counter()
    for _ in range(400):
        strikes = deck.strikes_on(phases, ending, survived, chance)
        counts.update(strikes)
        order = [(phases.index(one.phase), one.victim == victims.WORKER) for one in strikes]
        assert order == sorted(order)
    assert len(counts) == 2 * len(phases)
    assert all(330 < count < 390 for count in counts.values())


# ------------------------------------------------------------------ what is kept
KILLS = [
    Kill("Lite, serial", "ingest", "embed", "driver", "killed", 0.1),
    Kill("Lite, serial", "ingest", "load", "driver", "killed", 0.3),
    Kill("Lite, Ray", "sync", "embed", "GCS", "exit 8", 2.0, workers=2),
]
ROUNDS = [
    Round(4, 10.0, KILLS[:2], [], lost=0, doubled=0, checks=2),
    Round(
        5, 20.0, KILLS[2:], ["a fault"], lost=3, doubled=1, checks=1, answers=9, late=["x"], twice=2
    ),
]


def test_a_journal_is_read_again(tmp_path: Path) -> None:
    """A run that was stopped finds its rounds, and adds to them."""
    file = tmp_path / "runs" / "7.jsonl"
    Journal(file).add(ROUNDS[0])
    reopened = Journal(file)
    assert reopened.rounds == ROUNDS[:1]
    reopened.add(ROUNDS[1])
    assert Journal(file).rounds == ROUNDS
    assert Journal(file).kills() == KILLS


def test_figures_add_up_all_rounds() -> None:
    """Kills by process, phase and command; rows lost and doubled; seconds by process."""
    values = {name: figure["value"] for name, figure in figures([7, 11], ROUNDS).items()}
    assert (values["seed"], values["seed 2"]) == (7, 11)
    assert values["kills"] == 3
    assert values["kills, process driver"] == 2
    assert values["kills, process GCS"] == 1
    assert values["kills, phase embed"] == 2
    assert values["kills, command ingest"] == 2
    assert values["kills, on Ray workers"] == values["kills, on Ray workers sync embed"] == 1
    assert values["late items given to a second worker"] == 2
    assert (values["rows lost"], values["rows doubled"], values["faults"]) == (3, 1, 1)
    assert values["over 60 s without a word, on a busy machine"] == 1
    assert values["indexes compared row by row and audited"] == 3
    assert values["until the command ended or answered, driver"] == pytest.approx(0.2)


def test_tables_say_how_commands_ended() -> None:
    """By process, by command and phase, by stand, and by whether workers were up."""
    printed = tables(KILLS)
    assert "| driver | 2 | killed 2 | 0.3 (0.3) |" in printed
    assert "| sync: embed | 1 | exit 8 1 | 2.0 (2.0) |" in printed
    assert "| Lite, serial | 2 | killed 2 | 0.3 (0.3) |" in printed
    assert "| ingest: load | 1 | 0 | 0 | 0 |" in printed
    assert "| sync: embed | 0 | 0 | 0 | 1 |" in printed
    assert "| **all** | **2** | **0** | **0** | **1** |" in printed


# ------------------------------------------------------------------ what is a fault
@pytest.mark.parametrize(
    ("victim", "code", "is_fault"),
    [
        ("", 0, False),
        ("", 8, True),
        (victims.DRIVER, -9, False),
        (victims.DRIVER, 0, False),
        (victims.DRIVER, 1, True),
        (victims.WORKER, 0, False),
        (victims.WORKER, 8, True),
        (victims.RECORDER, 1, True),
        (victims.GCS, 8, False),
        (victims.RAYLET, 0, False),
        (victims.RAYLET, 1, True),
        (victims.MILVUS, 5, False),
        (victims.MILVUS, 1, True),
        (victims.PREFECT, 2, False),
        (victims.PREFECT, 5, True),
    ],
)
def test_a_command_may_end_by_few_codes(victim: str, code: int, is_fault: bool) -> None:
    """By success, or by the code of what it has lost."""
    assert bool(verdict.faults_of(victim, code, 0.0, 1.0, "mrag: ...")) == is_fault


def test_silence_and_tracebacks_are_faults() -> None:
    """Also if the command succeeds."""
    [silent] = verdict.faults_of(victims.WORKER, 0, 61.0, 1.0, "")
    assert "silent for 61 s" in silent
    assert verdict.faults_of(victims.WORKER, 0, 59.0, 1.0, "") == []
    assert "silent" in verdict.faults_of(victims.WORKER, None, 10.0, 1.0, "")[0]
    [shown] = verdict.faults_of(
        victims.WORKER, 0, 0.0, 1.0, "", "Traceback (most recent call last)"
    )
    assert "a traceback" in shown
    assert verdict.told(None) == "hung"
    assert verdict.told(-9) == "killed"
    assert verdict.told(8) == "exit 8"


def test_a_silence_on_a_busy_machine_is_late_and_no_fault() -> None:
    """It is counted by itself; a command that never ends is a fault on any machine."""
    assert verdict.faults_of(victims.GCS, 8, 70.0, 5.0, "") == []
    assert verdict.late(70.0, 5.0) == [
        "silent for 70 s, with 5.0 processes a core that wanted to run"
    ]
    assert verdict.late(70.0, 1.0) == verdict.late(50.0, 5.0) == []
    assert verdict.faults_of(victims.GCS, None, 600.0, 5.0, "") != []
