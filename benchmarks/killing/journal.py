"""The kills of a run in a file, so that the run can go on later; and what they come to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from figure import figure

# Where a phase was at work when something was killed, and what that was.
POOLS = (
    "in one process",
    *(f"on Ray workers: {what}" for what in ("the driver", "a worker", "another")),
)


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed in one phase of one command."""

    stand: str
    command: str
    phase: str
    process: str
    ended: str  # how the command ended: an exit code, `killed`, `lives on`
    seconds: float  # until it ended, or answered again
    workers: int = 0  # Ray workers of the command that were up then


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to."""

    number: int
    seconds: float
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    checks: int = 0  # how many times rows were compared and audited
    answers: int = 0  # of a service, compared with those of an undisturbed one
    late: list[str] = field(default_factory=list)  # silences on a machine too busy to judge them
    twice: int = 0  # items that were late, and given to a second worker


class Journal:
    """The rounds that are done, in a file of a line each."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self.rounds: list[Round] = []
        if file.exists():
            for line in file.read_text("utf-8").splitlines():
                values = json.loads(line)
                values["kills"] = [Kill(**kill) for kill in values["kills"]]
                self.rounds.append(Round(**values))

    def add(self, done: Round) -> None:
        """Keeps a round."""
        self.rounds.append(done)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")

    def kills(self) -> list[Kill]:
        """Of all rounds."""
        return [kill for done in self.rounds for kill in done.kills]


def tables(kills: Sequence[Kill]) -> str:
    """By process, by command and phase, by pool and store, and by phase and pool, as Markdown."""
    return "\n\n".join(
        (
            _table("process", kills, lambda kill: kill.process),
            _table("command: phase", kills, lambda kill: f"{kill.command}: {kill.phase}"),
            _table("where", kills, lambda kill: kill.stand),
            pools_table(kills),
        )
    )


def pools_table(kills: Iterable[Kill]) -> str:
    """By command and phase: in one process, and while workers were up, by what was killed."""
    counts: dict[str, Counter[str]] = {}
    for kill in kills:
        counts.setdefault(f"{kill.command}: {kill.phase}", Counter())[_pool_of(kill)] += 1
    lines = ["| command: phase | " + " | ".join(POOLS) + " |", "|---|" + "---:|" * len(POOLS)]
    for name, of_phase in sorted(counts.items()):
        lines.append(f"| {name} | " + " | ".join(str(of_phase[pool]) for pool in POOLS) + " |")
    total: Counter[str] = sum(counts.values(), Counter())
    lines.append("| **all** | " + " | ".join(f"**{total[pool]}**" for pool in POOLS) + " |")
    return "\n".join(lines)


def _pool_of(kill: Kill) -> str:
    if not kill.workers:
        return POOLS[0]
    what = {"driver": "the driver", "Ray worker": "a worker"}.get(kill.process, "another")
    return f"on Ray workers: {what}"


def _table(title: str, kills: Iterable[Kill], key: Callable[[Kill], str]) -> str:
    groups: dict[str, list[Kill]] = {}
    for kill in kills:
        groups.setdefault(key(kill), []).append(kill)
    lines = [f"| {title} | kills | how the command ended | s until then, median (most) |"]
    lines.append("|---|---:|---|---|")
    for name, group in sorted(groups.items()):
        ends = Counter(kill.ended for kill in group).most_common()
        told = ", ".join(f"{end} {count}" for end, count in ends)
        seconds = sorted(kill.seconds for kill in group)
        middle = f"{seconds[len(seconds) // 2]:.1f} ({seconds[-1]:.1f})"
        lines.append(f"| {name} | {len(group)} | {told} | {middle} |")
    return "\n".join(lines)


def figures(seeds: Sequence[int], rounds: Sequence[Round]) -> dict[str, dict[str, float | str]]:
    """What the figures' file holds: of all rounds of one campaign, or of several."""
    kills = [kill for done in rounds for kill in done.kills]

    def counted(count: int, unit: str) -> dict[str, float | str]:
        return figure([count], unit)

    names = ["seed", *(f"seed {number}" for number in range(2, len(seeds) + 1))]
    result = {
        **{name: counted(seed, "seed") for name, seed in zip(names, seeds, strict=True)},
        "kills": counted(len(kills), "kills"),
        "rounds": counted(len(rounds), "rounds"),
        "indexes compared row by row and audited": counted(
            sum(done.checks for done in rounds), "indexes"
        ),
        "rows lost": counted(sum(done.lost for done in rounds), "rows"),
        "rows doubled": counted(sum(done.doubled for done in rounds), "rows"),
        "answers under kills, compared": counted(sum(done.answers for done in rounds), "answers"),
        "late items given to a second worker": counted(sum(done.twice for done in rounds), "items"),
        "faults": counted(sum(len(done.faults) for done in rounds), "faults"),
        "over 60 s without a word, on a busy machine": counted(
            sum(len(done.late) for done in rounds), "commands"
        ),
    }
    for name, group in (
        ("process", "process"),
        ("where", "stand"),
        ("phase", "phase"),
        ("command", "command"),
    ):
        counts = Counter(str(getattr(kill, group)) for kill in kills)
        result |= {f"kills, {name} {key}": counted(n, "kills") for key, n in sorted(counts.items())}
    on_workers = Counter(f"{kill.command} {kill.phase}" for kill in kills if kill.workers)
    result |= {
        "kills, on Ray workers": counted(on_workers.total(), "kills"),
        **{
            f"kills, on Ray workers {key}": counted(n, "kills")
            for key, n in sorted(on_workers.items())
        },
    }
    ended: dict[str, list[float]] = {}
    for kill in kills:
        ended.setdefault(kill.process, []).append(kill.seconds)
    result |= {
        f"until the command ended or answered, {key}": figure(values, "s", 2)
        for key, values in sorted(ended.items())
    }
    return result
