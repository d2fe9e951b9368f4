"""What every progress display promises; run by the fake and by the real ones.

The bars of a terminal and of a notebook, the log's lines, and the Prefect UI's artifacts, which
pass everything on to another display: several at once. A dictionary replaces a run's record.
"""

from __future__ import annotations

import io
import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from types import SimpleNamespace

import pytest
from rich.console import Console

from mrag_pipeline.flows import run_record
from mrag_pipeline.flows.artifacts import ArtifactProgress
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.library import live_progress
from mrag_pipeline.ports import Progress
from tests.support.builds import RecordingProgress


@dataclass
class Artifacts:
    """Prefect's progress artifacts: the key and the values that each has shown."""

    keys: dict[str, str] = field(default_factory=dict)
    shown: dict[str, list[float]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, kind: str, key: str, value: float, about: str | None = None) -> str:
        assert kind == "progress"
        artifact = str(next(self._ids))
        self.keys[artifact] = key
        self.shown[key] = [value]
        return artifact

    def update(self, artifact: str, value: float) -> None:
        self.shown[self.keys[artifact]].append(value)


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """What the Prefect UI shows."""
    stored = Artifacts()
    recorded = SimpleNamespace(artifact=stored.create, update=stored.update)
    monkeypatch.setattr(run_record, "current", lambda: recorded)
    return stored


def fake_text(fake: RecordingProgress) -> str:
    """What the fake was told, as lines."""
    lines = [
        f"{name}: {fake.done[name]} of {total} {unit}"
        for name, total, unit in fake.phases
        if name in fake.done
    ]
    return "\n".join([*fake.notes, *lines, *(f"{n} {name}" for name, n in fake.facts.items())])


# Opens a display, and what it has shown so far.
Display = tuple[Progress, Callable[[], str]]


@pytest.fixture(
    params=["fake", "terminal", "notebook", "log", "prefect and fake", "prefect and log"]
)
def display(
    request: pytest.FixtureRequest, prefect: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Display]:
    """Each display in turn."""

    @contextmanager
    def bars() -> Iterator[Display]:
        written = io.StringIO()
        console = Console(file=written, width=200, force_terminal=True, color_system=None)
        with live_progress.LiveProgress(console) as progress:
            yield progress, written.getvalue

    @contextmanager
    def cell() -> Iterator[Display]:
        pytest.importorskip("IPython")
        drawn: list[str] = []
        handle = SimpleNamespace(update=lambda html: drawn.append(html.data))
        monkeypatch.setattr("IPython.display.display", lambda *_, **__: handle)
        notes: list[str] = []
        monkeypatch.setattr(live_progress, "print", notes.append, raising=False)
        with live_progress.NotebookProgress() as progress:
            yield (
                progress,
                lambda: unescape(re.sub("<[^>]*>", "", "".join(drawn)) + "\n".join(notes)),
            )

    if request.param in ("terminal", "notebook"):
        with (bars if request.param == "terminal" else cell)() as opened:
            yield opened
        return
    if "log" in request.param:
        lines: list[str] = []
        inner: Progress = LogProgress(lines.append, every_s=0.0)
        text = lambda: "\n".join(lines)  # noqa: E731
    else:
        fake = RecordingProgress()
        inner, text = fake, lambda: fake_text(fake)
    yield (ArtifactProgress(inner, "docs") if "prefect" in request.param else inner), text


def shows_count(text: str, done: int, total: int) -> bool:
    """Whether `3 of 5` or `3/5` stands in the text."""
    return re.search(rf"\b{done}\s*(of|/)\s*{total}\b", text) is not None


def test_a_finished_phase_shows_its_name_and_how_much_was_done(display: Display) -> None:
    """Of how much, in its unit."""
    progress, text = display
    progress.phase("embed", 5, "shards")
    progress.advance(2)
    progress.advance(3)
    progress.finish()
    assert all(word in text() for word in ("embed", "shards"))
    assert shows_count(text(), 5, 5)


def test_facts_add_up(display: Display) -> None:
    """Counts of what a phase went through, besides its own unit."""
    progress, text = display
    progress.phase("embed", 2, "shards")
    progress.advance(1, {"documents": 20, "chunks": 41})
    progress.advance(1, {"documents": 22})
    progress.finish()
    assert "42 documents" in text()
    assert "41 chunks" in text()


def test_each_phase_counts_from_zero(display: Display) -> None:
    """Also after one that an error cut short, which is never finished."""
    progress, text = display
    progress.phase("embed", 4, "shards")
    progress.advance(3)
    progress.phase("load", 7, "rows")
    progress.advance(6)
    progress.finish()
    assert shows_count(text(), 6, 7)


def test_a_note_is_shown_as_it_is(display: Display) -> None:
    """Before any phase too; brackets in a path are not markup."""
    progress, text = display
    progress.note("corpus [old] in data[bold]/x")
    progress.phase("embed", 1, "shards")
    progress.note("on 2 workers")
    assert "corpus [old] in data[bold]/x" in text()
    assert "on 2 workers" in text()


@pytest.mark.parametrize(("total", "done"), [(0, 0), (2, 3)])
def test_a_total_may_be_nothing_or_passed(display: Display, total: int, done: int) -> None:
    """An empty corpus; a shard that two workers embedded."""
    progress, text = display
    progress.phase("embed", total, "shards")
    progress.advance(done)
    progress.finish()
    assert "embed" in text()


def test_prefect_shows_a_bar_for_each_phase_that_ends_full(prefect: Artifacts) -> None:
    """Keyed by index and phase."""
    progress = ArtifactProgress(RecordingProgress(), "docs")
    for phase in ("embed", "load"):
        progress.phase(phase, 2, "shards")
        progress.advance(1)
        progress.finish()
    assert prefect.shown == {"docs-embed": [0.0, 100.0], "docs-load": [0.0, 100.0]}


def test_prefect_is_told_only_now_and_then(
    prefect: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each update is a request to its server; a share is never above 100."""
    clock = iter([0.0, 1.0, 5.0, 5.0, 6.0, 10.0, 10.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = ArtifactProgress(RecordingProgress(), "docs")
    progress.phase("embed", 4, "shards")
    for done in (1, 1, 1, 3):
        progress.advance(done)
    assert prefect.shown["docs-embed"] == [0.0, 50.0, 100.0]


def test_the_log_is_told_only_now_and_then() -> None:
    """Not a line a shard; the last line always."""
    lines: list[str] = []
    progress = LogProgress(lines.append, every_s=60.0)
    progress.phase("embed", 3, "shards")
    for _ in range(3):
        progress.advance(1)
    assert lines == []
    progress.finish()
    assert len(lines) == 1
