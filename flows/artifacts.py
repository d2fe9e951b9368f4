"""What a run shows in the Prefect UI: progress bars, a table of phases, recall, a summary.

They go where the run is reported to: to Prefect's server, or into the run's record. Where Prefect
is not installed, nothing is shown here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.gate import Verdict
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows import engine, run_record
from mrag_pipeline.flows.progress import current
from mrag_pipeline.flows.run_metrics import counted
from mrag_pipeline.flows.run_record import RunRecord
from mrag_pipeline.ports import Progress
from mrag_pipeline.stages.ingest.verify import CollectionCheck

EVERY_S = 5.0


class ArtifactProgress:
    """Passes everything on to another display, and shows progress in the Prefect UI."""

    def __init__(self, inner: Progress, key: str) -> None:
        self._inner = inner
        self._key = key
        self._record: RunRecord | None = None  # a stage's threads do not inherit the context
        self._artifact = ""
        self._total = self._done = 0
        self._updated_at = 0.0

    def phase(self, name: str, total: int, unit: str) -> None:
        """Starts a phase: a new progress bar."""
        self._inner.phase(name, total, unit)
        self._total, self._done, self._updated_at = total, 0, time.monotonic()
        about = f"{name}: {total:,} {unit}"
        self._record = run_record.current()
        self._artifact = _created("progress", f"{self._key}-{name}", 0.0, about)

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """Passes it on; updates the bar every few seconds."""
        self._inner.advance(done, facts)
        self._done += done
        if self._artifact and time.monotonic() - self._updated_at >= EVERY_S:
            self._updated_at = time.monotonic()
            share = 100.0 * self._done / max(1, self._total)
            self._update(min(100.0, share))

    def note(self, text: str) -> None:
        """Passes it on."""
        self._inner.note(text)

    def finish(self) -> None:
        """Ends the phase: its bar is full."""
        self._inner.finish()
        if self._artifact:
            self._update(100.0)

    def _update(self, progress: float) -> None:
        if self._record is not None:
            self._record.update(self._artifact, progress)
            return
        from mrag_pipeline.flows import by_prefect

        by_prefect.update(self._artifact, progress)


def flow_progress(index: str) -> Progress:
    """The progress display of a flow's run, in the Prefect UI too."""
    return counted(ArtifactProgress(current(), key_of(index)))


def key_of(index: str) -> str:
    """The index's name as an artifact key: lower-case letters, digits and dashes only."""
    return index.lower().replace("_", "-")


def phases_table(index: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row for each phase: how long it took."""
    _table([dict(row) for row in rows], f"{key_of(index)}-phases")


def recall_table(index: str, checks: Sequence[CollectionCheck]) -> None:
    """One row for each collection: its rows, and its recall against exact search on a sample."""
    rows = [
        {
            "collection": check.collection,
            "rows": check.rows,
            "recall": round(check.recall, 4),
            "queries": check.queries,
            "recall above": round(check.recall_above, 4),
        }
        for check in checks
    ]
    _table(rows, f"{key_of(index)}-recall")


def summary(index: str, facts: Mapping[str, Any]) -> None:
    """The results of the run."""
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    _markdown(f"| | |\n|---|---|\n{lines}\n", f"{key_of(index)}-summary")


def importance(index: str, record: VersionRecord) -> None:
    """The importance of each head, as bars."""
    weights = record.importance()
    largest = float(weights.max()) or 1.0
    rows = "\n".join(
        f"| {head} | {weight:.4f} | {'█' * round(30 * float(weight) / largest)} |"
        for head, weight in zip(record.encoder.heads, weights, strict=True)
    )
    _markdown(f"| head | importance | |\n|---|---|---|\n{rows}\n", f"{key_of(index)}-importance")


def dead_letters(index: str, location: str, letters: Sequence[DeadLetter]) -> None:
    """Where a run's dead letters are stored, and the first 100 of them."""
    if not letters:
        return
    rows = [
        {"document": letter.document_id, "source": letter.source, "reason": letter.reason}
        for letter in letters[:100]
    ]
    about = f"{len(letters):,} dead letters in {location}"
    _table(rows, f"{key_of(index)}-dead-letters", about)


def findings(index: str, found: Sequence[Mapping[str, Any]]) -> None:
    """What an audit found wrong: the first 100 findings."""
    rows = [{**finding, "examples": list(finding["examples"])} for finding in found[:100]]
    _table(rows, f"{key_of(index)}-findings", f"{len(found):,} findings")


def verdict(index: str, version: str, verdict: Verdict) -> None:
    """What the gate compared, and why it rejected the version if it did."""
    rows = [("documents", f"{verdict.live_documents:,}", f"{verdict.new_documents:,}")]
    for comparison in verdict.comparisons:
        by = f" by {comparison.strategy}" if comparison.strategy else ""
        rows.append(
            (
                f"success ratio{by}",
                f"{comparison.live_success:.3f}",
                f"{comparison.new_success:.3f}",
            )
        )
        rows.append((f"documents found again{by}", "", f"{comparison.overlap:.1%}"))
    lines = "\n".join(f"| {name} | {live} | {new} |" for name, live, new in rows)
    outcome = "open" if verdict.is_open else "**shut**: " + "; ".join(verdict.reasons)
    text = f"{version}: {outcome}\n\n| | live | new |\n|---|---|---|\n{lines}\n"
    _markdown(text, f"{key_of(index)}-gate")


def evaluation(index: str, text: str) -> None:
    """The report of an evaluation, as Markdown."""
    _markdown(text, f"{key_of(index)}-evaluation")


def _table(rows: list[dict[str, Any]], key: str, about: str | None = None) -> None:
    _created("table", key, rows, about)


def _markdown(text: str, key: str) -> None:
    _created("markdown", key, text)


def _created(kind: str, key: str, value: object, about: str | None = None) -> str:
    """The id of a new artifact; empty if the run is reported to nobody."""
    record = run_record.current()
    if record is not None:
        return record.artifact(kind, key, value, about)
    if not engine.are_prefects_own():
        return ""
    from mrag_pipeline.flows import by_prefect

    return by_prefect.artifact(kind, key, value, about)
