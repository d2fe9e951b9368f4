"""One round: an index's life, command by command, each killed and run again until it has ended."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from killing import victims
from killing.command import TIMEOUT_S, Command, Moment
from killing.deck import in_turn, phases_for
from killing.journal import Kill, Round
from killing.many_items import ITEMS, SLOW
from killing.project import STEPS, State, Step, World, write_project
from killing.stands import NOT_RECORDED, Stand
from killing.verdict import LEFT_S, faults_of, late, load_per_core, told
from killing.warm_start import WarmStart
from mrag_pipeline.errors import MragError
from mrag_pipeline.processes import alive_after

_RECORDED = 0.1  # share of the commands whose run is recorded though no recorder is to be killed
_ON_RAY = 0.2  # share of the commands on Ray that end there what kills have left; serial is quicker

_LOOK_S = 0.1  # all processes of the machine are read for it
_GIVEN_TWICE = "given to a second worker"  # what a pool says of a late item
# The latest that parts of Ray are killed, in seconds from when they are there.
_THERE_S = {victims.WORKER: 3.0, victims.RAYLET: 12.0, victims.GCS: 12.0}

Usual = dict[str, dict[str, float]]  # seconds by command and phase


@dataclass
class Undisturbed:
    """A life without kills: what the index holds after each step, and how long each phase took."""

    states: dict[str, State] = field(default_factory=dict)
    usual: dict[str, Usual] = field(default_factory=dict)  # by kind of stand

    def durations(self, kind: str) -> Usual:
        """Of this kind as far as it was seen, else of the first."""
        first = next(iter(self.usual.values()), {})
        return self.usual.setdefault(kind, {name: dict(taken) for name, taken in first.items()})

    def learn(self, kind: str, step: str, taken: Mapping[str, float]) -> None:
        """Takes the durations of phases in which nothing was killed."""
        usual = self.durations(kind).setdefault(step, {})
        for phase, seconds in taken.items():
            # A command that finds its work done is quick; that says nothing of the work.
            if seconds > 0.3 * usual.get(phase, 0.0):
                usual[phase] = (seconds + usual.get(phase, seconds)) / 2


class Life:
    """A round in the making."""

    def __init__(
        self,
        stand: Stand,
        folder: Path,
        model: Path,
        chance: random.Random,
        known: Undisturbed,
        starter: WarmStart,
    ) -> None:
        place = stand.kind.pool, stand.milvus_uri, stand.cluster.address if stand.cluster else ""
        write_project(folder, model, *place)
        self.world = World(folder, model, *place, chance)
        self._stand, self._chance, self._known = stand, chance, known
        self._starter = starter
        self._victims = in_turn(stand.kind.killed, chance)
        self._family: dict[int, psutil.Process] = {}
        self._num_commands = 0
        self.kills: list[Kill] = []
        self.faults: list[str] = []
        self.late: list[str] = []
        self.lost = self.doubled = self.checks = self.twice = 0
        self._num_workers = 0  # that were up at the last kill

    def undisturbed(self) -> None:
        """Runs every step without a kill, and keeps what comes of it."""
        for step in STEPS:
            step.before(self.world)
            self._to_its_end(step)
            if self.faults:
                return
            with closing(self.world.index(step.index)) as index:
                self._known.states[step.name] = State.of(index)

    def disturbed(self) -> None:
        """Runs the steps with kills, and compares what comes of each."""
        for step in STEPS[: self._stand.kind.num_steps]:
            step.before(self.world)
            if not self._disturb(step):
                self._to_its_end(step)
            self._compare(step)
            if self.faults:
                break  # what follows would only repeat them
        self._look_for_leftovers()

    def result(self, number: int, seconds: float) -> Round:
        """What it came to."""
        counts = self.lost, self.doubled, self.checks
        found = self.kills, self.faults
        return Round(number, seconds, *found, *counts, late=self.late, twice=self.twice)

    # -------------------------------------------------------------- one command
    def _disturb(self, step: Step) -> bool:
        """Runs the command and kills it, or parts of it; whether nothing is left to be done."""
        for victim in self._victims_of_a_command():
            if self._killed(step, victim):
                break
        return False  # a command whose work is done has to find that, too

    def _command(self, step: Step, is_recorded: bool, pool: str = "") -> Command:
        self._num_commands += 1
        kind, variables = self._stand.kind, self._stand.variables
        pool = pool or kind.pool
        if is_recorded or kind.has_prefect:
            starter = None
        else:
            variables = {**variables, **NOT_RECORDED}
            starter = None if pool == "ray" else self._starter
        words = step.arguments
        if pool == "ray":
            variables = {**variables, ITEMS: SLOW}
        if pool != kind.pool:
            words = (*words, "-s", f"workers.pool={pool}")
        return Command(self.world.folder, self._num_commands, words, variables, starter)

    def _victims_of_a_command(self) -> list[str]:
        kind = self._stand.kind
        least = 0 if kind.last else 1
        names = [next(self._victims) for _ in range(self._chance.randint(least, kind.most_kills))]
        return [*names, kind.last] if kind.last else names

    def _to_its_end(self, step: Step) -> None:
        kind, is_recorded = self._stand.kind, self._chance.random() < _RECORDED
        stays = kind.pool == "serial" or self._chance.random() < _ON_RAY
        command = self._command(step, is_recorded, kind.pool if stays else "serial")
        code = command.wait(TIMEOUT_S)
        self._look_at(command, step, code, "undisturbed")
        if stays:
            self._known.learn(kind.name, step.name, command.seconds())

    def _killed(self, step: Step, victim: str) -> bool:
        """Kills something of the command; whether the command has ended well all the same."""
        chance, kind = self._chance, self._stand.kind
        usual = self._known.durations(kind.name)[step.name]
        phases = phases_for(victim, usual, kind.is_shared)
        moment = Moment(chance.choice(phases), chance.random())
        later_s = 0.0
        if victim in victims.ON_RAY:  # most of the phase is Ray's start; the rest is aimed at, too
            later_s = moment.share * _THERE_S[victim]
            moment = Moment(moment.phase, 0.0)
        command = self._command(step, victim == victims.RECORDER or chance.random() < _RECORDED)
        is_hit = command.reaches(moment, usual) and self._strike(victim, command, later_s)
        struck_at = time.monotonic()
        phase = command.phases()[-1][0]
        code = command.wait(TIMEOUT_S, self._stand.is_restarting)
        if is_hit:
            taken = time.monotonic() - struck_at
            told_as = told(code), round(taken, 2)
            kill = Kill(kind.name, step.name, phase, victim, *told_as, self._num_workers)
            self.kills.append(kill)
            whole = command.seconds()
            whole.pop(phase, None)
            if code != 0:
                whole.pop(command.phases()[-1][0], None)
            self._known.learn(kind.name, step.name, whole)
        self._stand.settled()
        name = f"{victim} killed in {phase}" if is_hit else "undisturbed"
        self._look_at(command, step, code, name, victim if is_hit else "")
        return code == 0

    def _strike(self, victim: str, command: Command, later_s: float) -> bool:
        """Kills it, so much later than it is there; False if the command ends before."""
        is_ray = self._stand.kind.pool == "ray"
        family = command.family() if is_ray else []
        self._num_workers = len(victims.found(victims.WORKER, family))
        if victim == victims.DRIVER:
            command.process.kill()
            return True
        if victim in self._stand.servers:
            self._stand.kill_server(victim, self._chance)
            return True
        since = None
        while command.is_running():
            family = command.family()
            self._num_workers = len(victims.found(victims.WORKER, family))
            if not victims.found(victim, family):
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() >= since + later_s and victims.kill_one(
                victim, family, self._chance
            ):
                return True
            time.sleep(_LOOK_S)
        return False

    def _look_at(
        self, command: Command, step: Step, code: int | None, what: str, victim: str = ""
    ) -> None:
        self._family |= {one.pid: one for one in command.family()}
        self.twice += command.said().count(_GIVEN_TWICE)
        silent_s, load = command.silent_s if victim else 0.0, load_per_core()
        self.late += [f"{step.name}, {what}: {late_s}" for late_s in late(silent_s, load)]
        faults = faults_of(victim, code, silent_s, load, command.said(), command.printed())
        self.faults += [f"{step.name}, {what}: {fault}" for fault in faults]

    # -------------------------------------------------------------- what is left
    def _compare(self, step: Step) -> None:
        audit = Step("audit", ("audit", "--json", "--index", step.index))
        on_ray = self._stand.cluster is not None and self._chance.random() < _ON_RAY
        command = self._command(audit, is_recorded=False, pool="ray" if on_ray else "serial")
        self._look_at(command, audit, command.wait(TIMEOUT_S), f"after {step.name}")
        with closing(self.world.index(step.index)) as index:
            try:
                state = State.of(index)
            except (AssertionError, MragError) as error:
                self.doubled += isinstance(error, AssertionError)
                self.faults.append(f"{step.name}: {error}")
                return
        lost, doubled, differences = state.differences(self._known.states[step.name])
        self.checks += 1
        self.lost += lost
        self.doubled += doubled
        self.faults += [f"{step.name}: {one}" for one in differences]

    def _look_for_leftovers(self) -> None:
        for one in alive_after(LEFT_S, list(self._family.values())):
            try:
                self.faults.append(f"still running: {' '.join(one.cmdline())[:200]}")
                one.kill()
            except psutil.NoSuchProcess:
                continue


def removed(folder: Path) -> None:
    """Removes a round's folder."""
    shutil.rmtree(folder, ignore_errors=True)
