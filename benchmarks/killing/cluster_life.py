"""A round on a Ray cluster: each kill is aimed at workers that are at items of a phase.

A command is run again and again. Each of its phases on workers may lose the driver, or the Milvus
server, in one run, and a worker or a node in the next, which goes on where that one stopped.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from killing import victims
from killing.command import TIMEOUT_S, Command
from killing.deck import Strike, in_turn, strikes_on
from killing.journal import Kill
from killing.life import Life, Undisturbed
from killing.project import Step
from killing.stands import Stand
from killing.verdict import LEFT_S, told
from killing.warm_start import WarmStart
from mrag_pipeline.processes import alive_after

_SURVIVED = {victims.WORKER: 4, victims.NODE: 1}
_MOST_S = 1.6  # that a kill waits when workers are at items: about as long as they are
_LOOK_S = 0.1
_WHOLE = ("-s", "milvus.range_mb=1000")  # collections are loaded whole
_SAME_WORKERS = frozenset({"store", "apply"})  # as in the phase before


@dataclass(frozen=True, slots=True)
class Hit:
    """A kill that was done."""

    victim: str
    phase: str
    at: float  # by the monotonic clock
    num_workers: int  # of the command, that were up


class ClusterLife(Life):
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
        super().__init__(stand, folder, model, chance, known, starter)
        self._survived = in_turn(_SURVIVED, chance)

    def _command(self, step: Step, is_recorded: bool, pool: str = "") -> Command:
        if not step.on_workers:  # nothing is killed in it: the quicker the better
            step = replace(step, arguments=(*step.arguments, *_WHOLE))
        return super()._command(step, is_recorded, pool)

    def _disturb(self, step: Step) -> bool:
        strikes = deque(strikes_on(step.on_workers, self._victims, self._survived, self._chance))
        while strikes and not self.faults:
            if self._struck(step, strikes):
                return True
        return False

    def _struck(self, step: Step, strikes: deque[Strike]) -> bool:
        """One run of the command; whether it has ended well.

        Args:
            strikes: the kills that are left to be done; those of this run are taken off.
        """
        others = {one.pid for one in self._workers()}
        command = self._command(step, is_recorded=False)
        hits: list[Hit] = []
        while strikes and (not hits or hits[-1].victim != victims.DRIVER):
            hit = self._hit(command, strikes[0], others)
            if hit is None and not command.is_running():
                break  # the next run meets it, if there is one
            strikes.popleft()
            if hit is not None:
                hits.append(hit)
        code = command.wait(TIMEOUT_S, self._stand.is_restarting)
        for hit, after in zip(hits, [*hits[1:], None], strict=False):
            # What the command went on without, until something else was killed.
            ended = (told(code), command.ended) if after is None else ("lives on", after.at)
            seconds = round(max(0.0, ended[1] - hit.at), 2)
            where = self._stand.kind.name, step.name, hit.phase
            self.kills.append(Kill(*where, hit.victim, ended[0], seconds, hit.num_workers))
        self._stand.settled()
        names = [f"{hit.victim} killed in {hit.phase}" for hit in hits]
        struck = [hit.victim for hit in hits]
        # A server that was killed may end the command later.
        is_servers = victims.MILVUS in struck and victims.DRIVER not in struck
        blamed = victims.MILVUS if is_servers else (struck or [""])[-1]
        self._look_at(command, step, code, ", ".join(names) or "undisturbed", blamed)
        return code == 0

    def _hit(self, command: Command, strike: Strike, others: set[int]) -> Hit | None:
        """Kills in the phase, as soon as workers have been at items for a while.

        A phase that ends before costs a worker or a node nothing; anything else is killed in what
        comes after it.

        Args:
            others: process ids of workers of earlier commands, which may still be ending.
        Returns: None if nothing was killed.
        """
        later_s, since = self._chance.random() * _MOST_S, None
        before: set[int] | None = None  # of earlier phases
        while command.is_running() and time.monotonic() < command.started + TIMEOUT_S:
            names = [name for name, _ in command.phases()]
            if strike.phase in names:
                workers = [one for one in self._workers() if one.pid not in others]
                if names[-1] != strike.phase:
                    if strike.victim in _SURVIVED:
                        return None
                    return self._kill(command, strike, names[-1], workers)
                if before is None:
                    shared = strike.phase in _SAME_WORKERS
                    before = set() if shared else {one.pid for one in workers}
                workers = [one for one in workers if one.pid not in before]
                if since is None and victims.found(victims.AT_WORK, workers):
                    since = time.monotonic()
                if since is not None and workers and time.monotonic() >= since + later_s:
                    return self._kill(command, strike, strike.phase, workers)
            time.sleep(_LOOK_S)
        return None

    def _kill(
        self, command: Command, strike: Strike, phase: str, workers: list[psutil.Process]
    ) -> Hit | None:
        """Kills what the strike says; None if there is no worker any more.

        Args:
            workers: of this phase.
        """
        if strike.victim == victims.WORKER:
            name = victims.AT_WORK if victims.found(victims.AT_WORK, workers) else victims.WORKER
            if not victims.kill_one(name, workers, self._chance):
                return None
        elif strike.victim == victims.DRIVER:
            command.process.kill()
        else:
            self._stand.settled()  # a node may be on its way back
            self._stand.kill_server(strike.victim, self._chance)
        return Hit(strike.victim, phase, time.monotonic(), len(workers))

    def _workers(self) -> list[psutil.Process]:
        assert self._stand.cluster is not None
        return self._stand.cluster.workers()

    def _look_for_leftovers(self) -> None:
        super()._look_for_leftovers()
        alive = alive_after(LEFT_S, self._workers())
        self.faults += [f"a worker outlives its command: {one}" for one in alive]
