"""Random kills of every process, and what is left then: `python benchmarks/kills.py --kills 500`.

Each round is an index's life: ingest, sync, reindex, export, import, retire, repair and audit. A
command is killed, or a process that it needs, at a random moment of a random phase, and is run
again until it ends; then every row is compared with an undisturbed build's, and `mrag audit` must
find nothing. Collections of a server are loaded in ranges. In rounds on a Ray cluster workers, a
node or the driver are killed while workers are at items of a phase. Other rounds kill the parts of
a service under readers, whose answers are compared. The seed is printed; a run that was stopped
goes on where it was if it is given the same seed and folder. `--sum kills/*.jsonl` adds up several.

Prints tables by process, phase and pool, and writes figures/kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from killing import services
from killing.cluster_life import ClusterLife
from killing.deck import chance_of, kind_of
from killing.journal import Journal, Round, figures, tables
from killing.life import Life, Undisturbed, removed
from killing.project import write_model
from killing.stands import KINDS, Kind, stand
from killing.warm_start import WarmStart

from mrag_pipeline import library_settings
from tests.support.project_folder import ROOT, environment

ALL = (*KINDS, *services.KINDS)
FIGURES = Path(__file__).parent / "figures" / "kills.json"


def main() -> int:
    """Runs the rounds; 1 if there was a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=500, help="ends after so many")
    parser.add_argument("--minutes", type=float, default=0, help="or after so long; 0: no limit")
    parser.add_argument("--jobs", type=int, default=1, help="rounds at a time")
    parser.add_argument("--seed", type=int, help="of all that is random; by chance if not given")
    parser.add_argument("--folder", type=Path, help="keeps what is done, to go on later")
    parser.add_argument("--print", action="store_true", help="only what the folder has")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        help="rounds whose names contain one; no figures",
    )
    parser.add_argument("--sum", nargs="+", type=Path, help="journals: their figures, and no round")
    chosen = parser.parse_args()
    if chosen.sum:
        return told([(int(file.stem), Journal(file)) for file in chosen.sum], is_kept=True)
    library_settings.settle()
    for only in chosen.only:
        if not any(only in kind.name for kind in ALL):
            parser.error(f"no round is named {only!r}: {', '.join(kind.name for kind in ALL)}")
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder = folder.absolute()
    print(f"seed {seed}, in {folder}", flush=True)
    journal = Journal(folder / f"{seed}.jsonl")
    minutes = chosen.minutes or float("inf")
    if not chosen.print:
        with closing(WarmStart(environment() | {"PYTHONPATH": str(ROOT)})) as starter:
            run(journal, folder, seed, chosen.kills, minutes, chosen.only, starter, chosen.jobs)
    return told([(seed, journal)], is_kept=chosen.only == [""])


def told(journals: Sequence[tuple[int, Journal]], is_kept: bool) -> int:
    """Prints what the journals come to; 1 if there was a fault.

    Args:
        journals: of campaigns, with their seeds.
        is_kept: whether the figures' file is written.
    """
    rounds = [done for _, journal in journals for done in journal.rounds]
    print("\n" + tables([kill for done in rounds for kill in done.kills]))
    faults = [fault for done in rounds for fault in done.faults]
    values = figures([seed for seed, _ in journals], rounds)
    counts = [name for name in values if not name.startswith(("kills, ", "until "))]
    print("\n" + ", ".join(f"{name} {values[name]['value']}" for name in counts))
    for fault in [*faults, *(late for done in rounds for late in done.late)]:
        print(f"- {fault}")
    if is_kept:
        FIGURES.write_text(json.dumps(values, indent=1) + "\n")
    return bool(faults)


def run(
    journal: Journal,
    folder: Path,
    seed: int,
    kills: int,
    minutes: float,
    only: Sequence[str],
    starter: WarmStart,
    jobs: int,
) -> None:
    """Rounds until there are so many kills, or the time is over."""
    until = time.monotonic() + 60 * minutes
    known = Undisturbed()
    model = write_model(folder / "model")
    first = folder / "undisturbed"
    removed(first)
    with stand(KINDS[0], folder, folder / "prefect") as made:
        life = Life(made, first, model, random.Random(seed), known, starter)
        life.undisturbed()
        if life.faults:
            raise SystemExit("the undisturbed run failed:\n" + "\n".join(life.faults))
    ended = {done.number for done in journal.rounds}
    chosen = [kind for kind in ALL if any(name in kind.name for name in only)]
    has_services = any(kind in services.KINDS for kind in chosen)
    served = services.Served(first, services.expected(first) if has_services else {})
    numbers = (n for n in count() if n not in ended and kind_of(ALL, seed, n) in chosen)
    if all(kind.has_milvus for kind in chosen):
        jobs = 1  # no other kind could run beside a Milvus server
    turn = threading.Lock()
    servers: set[int] = set()  # rounds with a Milvus server: one at a time
    put_off: list[int] = []  # until it has ended
    is_over = _heeding_ctrl_c()

    def next_number() -> int:
        """The next round that can run now; under `turn`."""
        for number in chain(tuple(put_off), numbers):
            has_milvus = kind_of(ALL, seed, number).has_milvus
            if has_milvus and servers:
                put_off.extend({number} - {*put_off})
                continue
            if number in put_off:
                put_off.remove(number)
            if has_milvus:
                servers.add(number)
            return number
        raise AssertionError("the numbers have no end")

    def rounds() -> None:
        while True:
            with turn:
                if len(journal.kills()) >= kills or time.monotonic() >= until or is_over.is_set():
                    return
                number = next_number()
            done = one(number)
            with turn:
                servers.discard(number)
                if done is not None:
                    journal.add(done)
                    _tell(done, len(journal.kills()))

    def one(number: int) -> Round | None:
        kind = kind_of(ALL, seed, number)
        place = folder / f"round-{number}"
        removed(place)  # of a round that was cut short
        place.mkdir()
        try:
            chance = chance_of(seed, number)
            done = _round(kind, number, place, model, chance, known, served, starter)
        except (pytest.skip.Exception, RuntimeError) as why:  # of the server that a stand needs
            print(f"round {number}, {kind.name}, does not count: {why}", flush=True)
            return None
        if not done.faults:
            removed(place)
        return done

    with ThreadPoolExecutor(jobs) as threads:
        for running in [threads.submit(rounds) for _ in range(jobs)]:
            running.result()


def _heeding_ctrl_c() -> threading.Event:
    """Is set by the first Ctrl-C: no round begins any more; the second ends all at once."""
    is_over = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        print("no new rounds; again to end at once", flush=True)
        is_over.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    return is_over


def _tell(done: Round, num_kills: int) -> None:
    kinds = {kill.stand for kill in done.kills}
    told = (
        f"round {done.number}, {'; '.join(kinds)}: {len(done.kills)} kills in {done.seconds:.0f} s"
    )
    print(f"{told}, {num_kills} in all, {len(done.faults)} faults", flush=True)
    for fault in [*done.faults, *done.late]:
        print(f"  - {fault}", flush=True)


def _round(
    kind: Kind,
    number: int,
    folder: Path,
    model: Path,
    chance: random.Random,
    known: Undisturbed,
    served: services.Served,
    starter: WarmStart,
) -> Round:
    started = time.monotonic()
    with stand(kind, folder, folder.parent / "prefect") as made:
        if kind in services.KINDS:
            service = services.ServedLife(made, served, folder / "project", chance)
            service.run()
            return service.result(number, time.monotonic() - started)
        of_kind = ClusterLife if kind.has_cluster else Life
        life = of_kind(made, folder / "project", model, chance, known, starter)
        life.disturbed()
        return life.result(number, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
