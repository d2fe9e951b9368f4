"""Keeps what a run did, for `mrag runs`: in staging, whoever runs it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mrag_pipeline import __version__, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.run_facts import RunFacts, RunState
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexBusy, MragError, StagingError
from mrag_pipeline.flows.run_metrics import RunMetrics, metrics_of, showing
from mrag_pipeline.runtime import usage

log = logging.getLogger(__name__)

_MESSAGE_CHARS = 500
_going_on: dict[str, Callable[[RunState, str], None]] = {}  # keeps the end of each run, by name


@dataclass(slots=True)
class LoggedRun:
    """What a run says of itself, while it goes on."""

    version: str = ""
    documents: int = 0
    chunks: int = 0
    problem: str = ""  # what it found to be wrong, shorter than its error says
    keep: Callable[[], object] = field(default=lambda: None)  # what is known by now

    def is_of(self, record: VersionRecord) -> None:
        """It is a run on this version."""
        self.version = record.version
        self.documents, self.chunks = record.num_documents, record.num_chunks


@contextmanager
def logged(
    config: Config,
    kind: str,
    seconds: Mapping[str, float],
    lock: AbstractContextManager[None] | None = None,
) -> Iterator[LoggedRun]:
    """The block is a run: what is known of it is kept at its start, at its end and by `keep`.

    A run goes on if that cannot be kept; the log says so. Of a run that is killed what was kept
    last is listed: a flow keeps what is known when a phase begins after another one.

    Args:
        seconds: by phase; read when what is known is kept.
        lock: held by the run, which starts when it has it. A run that is refused because another
            one holds it is kept as failed, and does not touch the metrics of the other.
    """
    run = LoggedRun()
    with ExitStack() as held:
        try:
            held.enter_context(lock or nullcontext())
        except StagingError:
            raise  # it cannot be written: the run cannot be kept there
        except Exception as error:
            with _kept(config, kind, seconds, run, has_metrics=not isinstance(error, IndexBusy)):
                raise
        with _kept(config, kind, seconds, run):
            yield run


@contextmanager
def _kept(
    config: Config,
    kind: str,
    seconds: Mapping[str, float],
    run: LoggedRun,
    has_metrics: bool = True,
) -> Iterator[None]:
    now = datetime.now(UTC)
    stamp = now.strftime("%Y%m%dT%H%M%S.%fZ")
    facts = RunFacts(
        run=f"{stamp}-{kind}-{secrets.token_hex(2)}",
        kind=kind,
        index=config.index,
        started_at=now.isoformat(timespec="seconds"),
        host=socket.gethostname(),
        pid=os.getpid(),
        mrag=__version__,
    )
    before, cpu_before = usage.total(), time.process_time()
    metrics: RunMetrics | None = None

    def known() -> RunFacts:
        held = usage.total().since(before)
        return replace(
            facts,
            known_at=_now(),
            version=run.version,
            documents=run.documents,
            chunks=run.chunks,
            seconds=dict(seconds),
            process_cpu_s=round(time.process_time() - cpu_before, 2),
            worker_core_s=round(held.core_s, 2),
            worker_gpu_s=round(held.gpu_s, 2),
            retries=held.retries,
        )

    def end(state: RunState, message: str) -> None:
        now = known()
        message = message[:_MESSAGE_CHARS]
        _write(config, replace(now, state=state, message=message, ended_at=now.known_at))

    def keep() -> None:
        if facts.run in _going_on:  # else its end is kept already
            _write(config, known())

    def cut_short(state: RunState, message: str) -> None:
        _going_on.pop(facts.run, None)
        end(state, message)
        if metrics is not None:
            metrics.end(state == "failed")

    _write(config, facts)
    run.keep = keep
    _going_on[facts.run] = cut_short
    state: RunState = "completed"
    message = ""
    try:
        metrics = metrics_of(config, kind) if has_metrics else None
        with showing(metrics):
            yield
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        message = run.problem or str(error) or type(error).__name__
        raise
    finally:
        _going_on.pop(facts.run, None)
        end(state, message)


def cut_short(by_error: bool, message: str) -> None:
    """Keeps that the runs of this process end now, for whoever ends it without their say."""
    for end in list(_going_on.values()):
        end("failed" if by_error else "interrupted", message)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(config: Config, facts: RunFacts) -> None:
    """Keeps the facts; an error here must not replace that of the run."""
    try:
        wiring.run_files(config).write(facts)
    except (MragError, OSError, ValueError) as error:
        log.warning("run_not_kept run=%s error=%r", facts.run, error)
