"""One run at a time on one index, from any host: flags in a table that the index keeps.

The table has no compare-and-swap, but its reads see every write that had ended. So a run raises
its flag, then reads the others: of two runs that do so, at least one sees the other and lowers its
own flag. A run that sees no other holds the index, and moves its flag every few seconds. A flag
that has not moved for 60 reads in a row belongs to a dead run and is removed. No two clocks are
compared. Decision 0036.

    part                       payload
    lease/9f../00000003        {"holds": true, "owner": {"pid": 7, "host": "a", ...}}
"""

from __future__ import annotations

import json
import logging
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from mrag_pipeline.errors import IndexBusy, MragError
from mrag_pipeline.locking.owner import Owner

log = logging.getLogger(__name__)

BEAT_S = 5.0  # how often the owner's flag moves
LOOK_S = 1.0  # how often a waiting run reads the flags
DEAD_LOOKS = 60  # looks in a row at a flag that has not moved: twelve beats were missed
_PREFIX = "lease/"


class LeaseTable(Protocol):
    """Where the flags are; a read sees every write that had ended."""

    def put(self, name: str, payload: str) -> None:
        """Stores a payload under a name."""

    def remove(self, names: Iterable[str]) -> None:
        """Removes the names that exist."""

    def all(self) -> Mapping[str, str]:
        """Everything that is stored."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A run's flag as another sees it."""

    token: str
    beat: int
    holds: bool  # else it has just been raised
    owner: Owner
    rows: tuple[str, ...]


class Claim:
    """One run's own flag."""

    def __init__(self, rows: LeaseTable, owner: Owner) -> None:
        self.token = uuid.uuid4().hex
        self._rows = rows
        self._owner = owner
        self._beat = 0

    def show(self, holds: bool) -> None:
        """The flag is up, moved on by one: the new row before the old one goes."""
        before = self._name()
        self._beat += 1
        payload = {"holds": holds, "owner": self._owner.facts()}
        self._rows.put(self._name(), json.dumps(payload))
        if self._beat > 1:
            self._rows.remove([before])

    def lower(self) -> None:
        """The flag is down."""
        self._rows.remove([name for name in self._rows.all() if _token(name) == self.token])

    def others(self) -> list[Flag]:
        """The flags of other runs."""
        return [flag for flag in _flags(self._rows.all()) if flag.token != self.token]

    def attempt(self) -> list[Flag]:
        """Empty if the index is ours now; otherwise the other flags, and ours is lowered."""
        self.show(holds=False)
        others = self.others()
        if others:
            self.lower()
            return others
        self.show(holds=True)
        return []

    def beat(self) -> bool:
        """Moves the flag; False if another process has taken the index."""
        flags = _flags(self._rows.all())
        mine = any(flag.token == self.token for flag in flags)
        if not mine or any(flag.holds for flag in flags if flag.token != self.token):
            return False
        self.show(holds=True)
        return True

    def take_down(self, flag: Flag) -> None:
        """A dead run's flag is gone."""
        self._rows.remove(flag.rows)

    def _name(self) -> str:
        return f"{_PREFIX}{self.token}/{self._beat:08d}"


class Watch:
    """Which other runs are alive, judged by what this process has seen."""

    def __init__(self, dead_looks: int = DEAD_LOOKS) -> None:
        self._dead_looks = dead_looks
        self._seen: dict[str, tuple[int, int, bool]] = {}  # beat, looks at it, whether it moved

    def look(self, flags: Iterable[Flag]) -> list[Flag]:
        """The flags of dead runs; `flags` are all that exist now."""
        seen = {}
        for flag in flags:
            beat, looks, moved = self._seen.get(flag.token, (flag.beat, 0, False))
            moves = flag.beat != beat
            seen[flag.token] = (flag.beat, 1 if moves else looks + 1, moved or moves)
        self._seen = seen
        return [
            flag for flag in flags if seen[flag.token][1] > self._dead_looks or flag.owner.is_gone()
        ]

    def moved(self, flag: Flag) -> bool:
        """Whether it has moved while it was watched: its owner is alive."""
        return self._seen.get(flag.token, (0, 0, False))[2]


def acquire(
    claim: Claim,
    index: str,
    wait_s: float,
    sleep: Callable[[float], object] = time.sleep,
    watch: Watch | None = None,
) -> None:
    """Returns when this claim holds the index.

    Takes up to one beat, also if `wait_s` is 0, to tell a live run's flag from a dead run's.
    Raises: IndexBusy, naming the owner; IndexUnavailable.
    """
    watch = watch or Watch()
    deadline = time.monotonic() + wait_s
    while True:
        others = claim.others()
        for dead in watch.look(others):
            log.warning("stale_lease index=%s owner=%s", index, dead.owner.told())
            claim.take_down(dead)
            others.remove(dead)
        if not others and not (others := claim.attempt()):
            return
        living = [flag for flag in others if flag.holds and watch.moved(flag)]
        if living and time.monotonic() >= deadline:
            raise _busy(index, living[0], wait_s)
        # Two runs that raise flags at once both lower them; random pauses tell them apart.
        sleep(LOOK_S if living else LOOK_S * random.uniform(0.5, 1.5))


@contextmanager
def index_lease(rows: LeaseTable, index: str, wait_s: float = 0.0) -> Iterator[None]:
    """Held while the block runs; free a minute after its owner was killed, on its host at once.

    If the lease is lost meanwhile (this process was stopped for that long), the main thread is
    interrupted, as by Ctrl-C: the next run continues what this one has done.
    Raises: IndexBusy, naming the owner's process, host, start and age, or if the lease was
    lost; IndexUnavailable.
    """
    claim = Claim(rows, Owner.here())
    acquire(claim, index, wait_s)
    try:
        with closing(_Beating(claim, index)) as beating:
            try:
                yield
            except KeyboardInterrupt:
                if beating.lost:
                    raise _lost(index) from None
                raise
    finally:
        _lowered(claim, index)


class _Beating:
    """Moves the flag until it is closed."""

    def __init__(self, claim: Claim, index: str) -> None:
        self.lost = False
        self._claim = claim
        self._index = index
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                ours = self._claim.beat()
            except MragError as error:
                # While the server does not answer, no other run can see that the flag stands still.
                log.warning("lease_not_renewed index=%s error=%s", self._index, error.found)
                continue
            if not ours and not self._over.is_set():
                self.lost = True
                log.error("lease_lost index=%s", self._index)
                _interrupt()
                return

    def close(self) -> None:
        """The flag stays as it is."""
        self._over.set()
        self._thread.join()


def _interrupt() -> None:
    main = threading.main_thread().ident
    # A shell's background job ignores Ctrl-C.
    ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM if ignored else signal.SIGINT)


def _lowered(claim: Claim, index: str) -> None:
    try:
        claim.lower()
    except MragError as error:
        # The run itself is over, well or not; the next one waits a minute.
        log.warning("lease_not_released index=%s error=%s", index, error.found)


def _flags(rows: Mapping[str, str]) -> list[Flag]:
    """A flag that is moving has two rows for a moment."""
    by_token: dict[str, list[str]] = {}
    for name in sorted(rows):
        if name.startswith(_PREFIX):
            by_token.setdefault(_token(name), []).append(name)
    return [_flag(token, names, rows[names[-1]]) for token, names in by_token.items()]


def _flag(token: str, names: list[str], payload: str) -> Flag:
    facts = json.loads(payload)
    beat = int(names[-1].rsplit("/", 1)[1])
    return Flag(token, beat, facts["holds"], Owner.of(facts["owner"]), tuple(names))


def _token(name: str) -> str:
    return name.removeprefix(_PREFIX).split("/")[0]


def _busy(index: str, flag: Flag, wait_s: float) -> IndexBusy:
    waited = f", and was so for the {wait_s:g} s that this one waited" if wait_s else ""
    return IndexBusy(
        f"another run is at work on index {index!r}: {flag.owner.told()}{waited}",
        "one run on an index at a time",
        "wait for it, or end it; what it has staged is reused",
    )


def _lost(index: str) -> IndexBusy:
    return IndexBusy(
        f"this run was silent for so long that another has taken over index {index!r}",
        f"a sign of life every {BEAT_S:g} s",
        "run the same command again when the other has ended: what was staged is reused",
    )
