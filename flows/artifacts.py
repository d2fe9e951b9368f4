"""What a run leaves in the Prefect UI: a progress bar, a table of phases, a summary."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.gate import Verdict
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Progress
from mrag_pipeline.stages.ingest.verify import CollectionCheck

EVERY_S = 5.0


class ArtifactProgress:
    """Tells another reporter everything, and the Prefect UI now and then."""

    def __init__(self, inner: Progress, key: str) -> None:
        self._inner = inner
        self._key = key
        self._artifact: UUID | None = None
        self._total = self._done = 0
        self._told = 0.0

    def phase(self, name: str, total: int, unit: str) -> None:
        """A phase starts: a new progress bar."""
        self._inner.phase(name, total, unit)
        self._total, self._done, self._told = total, 0, time.monotonic()
        self._artifact = cast(
            UUID,
            create_progress_artifact(
                progress=0.0, key=f"{self._key}-{name}", description=f"{name}: {total:,} {unit}"
            ),
        )

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """More work is done."""
        self._inner.advance(done, facts)
        self._done += done
        if self._artifact and time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            share = 100.0 * self._done / max(1, self._total)
            update_progress_artifact(artifact_id=self._artifact, progress=min(100.0, share))

    def note(self, text: str) -> None:
        """One line worth reading."""
        self._inner.note(text)

    def finish(self) -> None:
        """The phase is over: the bar is full."""
        self._inner.finish()
        if self._artifact:
            update_progress_artifact(artifact_id=self._artifact, progress=100.0)


def key_of(index: str) -> str:
    """An artifact key may hold lower-case letters, digits and dashes only."""
    return index.lower().replace("_", "-")


def phases_table(index: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a phase: what it did and how long it took."""
    create_table_artifact(table=[dict(row) for row in rows], key=f"{key_of(index)}-phases")


def recall_table(index: str, checks: Sequence[CollectionCheck]) -> None:
    """One row for each collection: its rows, and its recall against exact search on a sample."""
    create_table_artifact(
        table=[
            {"collection": check.collection, "rows": check.rows, "recall": round(check.recall, 4)}
            for check in checks
        ],
        key=f"{key_of(index)}-recall",
    )


def summary(index: str, facts: Mapping[str, Any]) -> None:
    """The run in a few lines."""
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    create_markdown_artifact(f"| | |\n|---|---|\n{lines}\n", key=f"{key_of(index)}-summary")


def importance(index: str, record: VersionRecord) -> None:
    """How much each head's vote counts, as bars."""
    weights = record.importance()
    widest = float(weights.max()) or 1.0
    rows = "\n".join(
        f"| {head} | {weight:.4f} | {'█' * round(30 * float(weight) / widest)} |"
        for head, weight in zip(record.encoder.heads, weights, strict=True)
    )
    create_markdown_artifact(
        f"| head | importance | |\n|---|---|---|\n{rows}\n", key=f"{key_of(index)}-importance"
    )


def dead_letters(index: str, place: str, letters: Sequence[DeadLetter]) -> None:
    """Where a run's dead letters are, and the first of them."""
    if not letters:
        return
    create_table_artifact(
        table=[
            {"document": one.document_id, "place": one.source, "reason": one.reason}
            for one in letters[:100]
        ],
        key=f"{key_of(index)}-dead-letters",
        description=f"{len(letters):,} dead letters in {place}",
    )


def verdict(index: str, version: str, found: Verdict) -> None:
    """What the gate looked at, and why it stayed shut if it did."""
    rows = [("documents", f"{found.live_documents:,}", f"{found.new_documents:,}")]
    if found.compared is not None:
        both = found.compared
        rows.append(("success ratio", f"{both.live_success:.3f}", f"{both.new_success:.3f}"))
        rows.append(("documents found again", "", f"{both.overlap:.1%}"))
    lines = "\n".join(f"| {name} | {live} | {new} |" for name, live, new in rows)
    outcome = "open" if found.is_open else "**shut**: " + "; ".join(found.reasons)
    create_markdown_artifact(
        f"{version}: {outcome}\n\n| | live | new |\n|---|---|---|\n{lines}\n",
        key=f"{key_of(index)}-gate",
    )
