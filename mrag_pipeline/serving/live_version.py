"""Which version is asked: resolved once for all questions that are searched together.

The alias is resolved every time (0.4 ms on Lite, 1.1 ms on a server), the record of a version that
is already known is not: reading it takes 1.6 ms on Lite, but twice 0.2 s on a server, where records
are read strongly. It is read again behind the questions' backs, at most once a second, because a
sync changes the importance of a live version's heads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import (
    ConfigError,
    IndexBusy,
    IndexUnavailable,
    MragError,
    NotReady,
    OutOfTime,
)
from mrag_pipeline.ports import ChunkRow, ServedIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.document_cache import DocumentCache
from mrag_pipeline.query.question import Question
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.serving.backend import out_of_time
from mrag_pipeline.settings.retrieve import RetrieveSpec

log = logging.getLogger(__name__)

REFRESH_S = 1.0  # a record is never older than this and one reading, while it is asked
# Documents are remembered while the record is no older, and tells of no sync under way.
BELIEVED_S = 3.0
# Errors that another version would give too.
THE_CALLERS = (ConfigError, OutOfTime)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One request's questions, which are answered from one version or not at all."""

    questions: tuple[Question, ...]
    mark: str  # of the encoder that embedded them
    deadline: float  # on the clock of the process that searches


@dataclass(frozen=True, slots=True)
class LiveState:
    """What would be asked at this moment."""

    record: VersionRecord | None
    mark: str = ""  # of the encoder that built it
    reason: str = ""  # why there is none, for people


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    version: str
    searcher: Searcher  # that remembers documents, if it may
    strict: Searcher  # that reads them
    mark: str
    read_at: float


class LiveSearch:
    """Answers from the live version, or from the one that it is pinned to. Safe to share."""

    def __init__(
        self,
        index: ServedIndex,
        head_timeout_s: float,
        retrieve: RetrieveSpec | None = None,
        clock: Callable[[], float] = time.monotonic,
        background: Executor | None = None,
        remember_s: float = 60.0,
    ) -> None:
        """Ready to be asked; nothing is read yet.

        Args:
            head_timeout_s: of one head's search.
            background: where records are read again; a thread of its own if None.
            remember_s: for how long documents of chunks are remembered; 0 has them read each time.
        """
        self._index = index
        self._head_timeout_s = head_timeout_s
        self._retrieve = retrieve
        self._clock = clock
        self._remembering = (
            DocumentCache(index, remember_s, clock=clock) if remember_s > 0 else None
        )
        self._state = ""  # of the record that what is remembered belongs to
        self._background = background or ThreadPoolExecutor(1, "refresh-record")
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._refreshing = False
        self._pinned = ""

    def pin(self, version: str | None) -> None:
        """From the next batch on this version is asked; None: whatever is live."""
        self._pinned = version or ""

    def allow(self, head_timeout_s: float) -> None:
        """From the next batch on a head's search may take so long."""
        self._head_timeout_s = head_timeout_s

    def state(self) -> LiveState:
        """What would be asked; never raises for what `reason` can say."""
        try:
            known = self._resolved()
        except (IndexBusy, IndexUnavailable) as error:
            # Where the index is stays in the log: whoever asks for readiness has no key.
            log.warning("state_unknown error=%s", error.found)
            return LiveState(None, reason="the index does not answer")
        except MragError as error:
            return LiveState(None, reason=error.found)
        return LiveState(known.searcher.record, known.mark)

    def answer(self, searches: Sequence[Search]) -> list[list[Answer] | MragError]:
        """Each request's answers in order, or why it has none; all of a request on one version.

        A version that is dropped between resolving and searching costs nobody an answer: its
        requests are asked once more, of the version that took its place.
        """
        asked, outcomes = self._answer(searches)
        failed = [
            at
            for at, outcome in enumerate(outcomes)
            if isinstance(outcome, MragError) and not isinstance(outcome, THE_CALLERS)
        ]
        if failed and asked and self._replaced(asked):
            log.info("version_replaced version=%s requests=%d", asked.version, len(failed))
            _, again = self._answer([searches[at] for at in failed])
            for at, outcome in zip(failed, again, strict=True):
                outcomes[at] = outcome
        return outcomes

    def chunk(self, chunk_id: int, only: Filter | None) -> ChunkRow | None:
        """The version's chunk; None if there is none, or it is not `only`'s.

        Raises: NotReady, IndexBusy, IndexUnavailable.
        """
        known = self._resolved()
        try:
            row = self._row(known, chunk_id)
        except MragError:
            if not self._replaced(known):
                raise
            row = self._row(self._resolved(), chunk_id)
        return row if row is None or only is None or matches(only, row) else None

    def close(self) -> None:
        """Lets the reading thread end; the index stays open."""
        self._background.shutdown(wait=False, cancel_futures=True)

    # -------------------------------------------------------------- inside
    def _answer(
        self, searches: Sequence[Search]
    ) -> tuple[_Known | None, list[list[Answer] | MragError]]:
        try:
            known = self._resolved()
        except MragError as error:
            return None, [error] * len(searches)
        outcomes: dict[int, list[Answer] | MragError] = {}
        questions: list[Question] = []
        owners: list[int] = []
        now = self._clock()
        for at, search in enumerate(searches):
            left = min(self._head_timeout_s, search.deadline - now)
            if search.mark != known.mark:
                outcomes[at] = not_its_encoder(known.searcher.record)
            elif left <= 0:
                outcomes[at] = out_of_time(0)
            else:
                outcomes[at] = []
                questions += [replace(question, seconds=left) for question in search.questions]
                owners += [at] * len(search.questions)
        fresh = now - known.read_at <= BELIEVED_S
        searcher = known.searcher if fresh else known.strict
        try:
            found = searcher.outcomes(questions) if questions else []
        except MragError as error:
            return known, [error if at in owners else outcomes[at] for at in range(len(searches))]
        for at, one in zip(owners, found, strict=True):
            so_far = outcomes[at]
            if isinstance(so_far, list):
                outcomes[at] = one if isinstance(one, MragError) else [*so_far, one]
        return known, [outcomes[at] for at in range(len(searches))]

    def _resolved(self) -> _Known:
        """The version to ask now.

        Raises: NotReady, IndexBusy, IndexUnavailable.
        """
        version = self._pinned or self._index.live()
        if version is None:
            raise NotReady(
                "the index has no live version", "one that is published", "run `mrag ingest`"
            )
        with self._lock:
            known = self._known
            if known is None or known.version != version:
                known = self._known = self._read(version)
            elif self._clock() - known.read_at >= REFRESH_S and not self._refreshing:
                self._refreshing = True
                self._background.submit(self._refresh, version)
            return known

    def _read(self, version: str) -> _Known:
        read_at = self._clock()
        record = self._index.record(version)
        if record is None:
            raise NotReady(
                f"the index has no version {version}",
                "one that `mrag versions` lists",
                "pin another, or none to follow the live version",
            )
        strict = Searcher(self._index, record, self._retrieve)
        searcher = strict
        if self._remembering is not None:
            state = f"{record.version} {record.syncs} {record.pending} {record.num_chunks}"
            if state != self._state:
                self._remembering.forget()
                self._state = state
            if not record.pending:
                searcher = Searcher(self._remembering, record, self._retrieve)
        return _Known(version, searcher, strict, mark_of(record.encoder), read_at)

    def _refresh(self, version: str) -> None:
        """Reads a known version's record again; one that is gone is forgotten."""
        fresh: _Known | None = None
        try:
            fresh = self._read(version)
        except NotReady:
            log.info("version_gone version=%s", version)
        except MragError as error:
            log.warning("record_not_read version=%s error=%s", version, error.found)
            known = self._known  # as good as it was; tried again after the same time
            fresh = None if known is None else replace(known, read_at=self._clock())
        finally:
            with self._lock:
                self._refreshing = False
                if self._known is not None and self._known.version == version:
                    self._known = fresh

    def _replaced(self, known: _Known) -> bool:
        """Whether another version is to be asked than the one that just failed."""
        try:
            return (self._pinned or self._index.live()) not in (known.version, None)
        except MragError:
            return False

    def _row(self, known: _Known, chunk_id: int) -> ChunkRow | None:
        collection = known.searcher.record.chunks_collection()
        return self._index.chunks(collection, [chunk_id]).get(chunk_id)


def mark_of(card: EncoderCard) -> str:
    """The same for encoders whose vectors agree, short enough to go with every query."""
    identity: Mapping[str, object] = card.identity()
    plain = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()


def not_its_encoder(record: VersionRecord) -> NotReady:
    """What is said while another encoder is loaded than the one that built the version."""
    return NotReady(
        f"{record.version} was built by another encoder than the one that is loaded",
        f"{record.encoder.spec.model} with weights {record.encoder.weights_hash[:12]}",
        "serve with the encoder of the version, or build a new version with `mrag ingest`",
    )
