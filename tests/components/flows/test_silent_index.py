"""An index that does not answer, for a moment or for good, in audit, repair, export and import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.cli import interrupts, orphans
from mrag_pipeline.config import Config
from mrag_pipeline.domain.run_facts import RunFacts
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.flows import engine, run_record
from mrag_pipeline.flows.retries import DELAYS_S
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions import export, row_items
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring import at_work
from tests.support.living_index import Living, a_document, audited, content_of
from tests.support.plain_flows import plain_flows
from tests.support.project_folder import Mrag
from tests.support.typed_commands import typed_here

# A command, and what its index does not answer: in the first phase, in the long one, at a write.
WAYS = [
    *(("audit", call) for call in ("live", "vectors", "search")),
    *(("repair", call) for call in ("record", "vectors", "upsert")),
    *(("export", call) for call in ("live", "vectors")),
    *(("import", call) for call in ("load", "write_record", "count")),
]
TRIES = 1 + len(DELAYS_S)  # of a phase


class Silent:
    """An index that does not answer some calls of one method; closing it keeps its rows."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.method = ""
        self.first, self.last = 0, 0  # calls of the method that get no answer
        self.num_calls = self.num_unanswered = 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        return self._call(attribute) if name == self.method else attribute

    def close(self) -> None:
        """Other phases open it again."""

    def _call(self, answer: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.num_calls += 1
            if self.first <= self.num_calls <= self.last:
                self.num_unanswered += 1
                raise IndexUnavailable("the index gave no answer", "an answer", "try again")
            return answer(*arguments, **named)

        return call


class World:
    """A live version whose repair has work to do, an export of it, and an empty index."""

    def __init__(self, folder: Path, mrag: Mrag) -> None:
        self.living = Living(folder / "staging", [a_document(i) for i in range(10)])
        self.living.ingest()
        self.folder, self.mrag = folder, mrag
        self.docs = Silent(self.living.index)
        self.moved = Silent(ExactIndex("moved"))
        self.config = Config.parse({"index": "docs", "staging": {"uri": str(folder / "staging")}})

    def opened(self, config: Config) -> Silent:
        """What `wiring.index` opens."""
        return {"docs": self.docs, "moved": self.moved}[config.index]

    def prepared_for(self, kind: str) -> Silent:
        """The index that the command works on."""
        if kind == "import":
            assert self.run("export").code == 0
            return self.moved
        if kind == "repair":
            head = live_record(self.docs.inner).head_collections()[1]
            ids = sorted(int(number) for block in self.docs.inner.ids(head) for number in block)
            self.docs.inner.delete(head, ids[:2])
        return self.docs

    def run(self, kind: str) -> Any:
        """Types the command."""
        arguments = {
            "export": [str(self.folder / "exported")],
            "import": [str(self.folder / "exported"), "--index", "moved"],
        }
        uri = f"staging.uri={self.config.staging.uri}"
        return self.mrag(kind, *arguments.get(kind, ()), "-s", uri, "--json")

    def latest(self, kind: str) -> RunFacts:
        """What is kept of the last run of the command."""
        settings = {"index": "moved" if kind == "import" else "docs"}
        config = Config.parse(settings | {"staging": {"uri": self.config.staging.uri}})
        return wiring.run_files(config).latest(1)[0]


@pytest.fixture
def worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Any]:
    """Makes worlds, each in a folder of its own; commands are typed in the last one's."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    monkeypatch.setattr(engine, "DELAYS_S", (0.0, 0.0))
    monkeypatch.setattr(at_work, "run_lock", lambda *_: nullcontext())
    monkeypatch.setattr(row_items, "BLOCK_ROWS", 7)
    monkeypatch.setattr(export, "CHUNKS_PER_SHARD", 7)
    monkeypatch.setattr(interrupts, "heed", lambda: None)
    monkeypatch.setattr(orphans, "guard", lambda: None)
    monkeypatch.setattr(wiring, "spare_pandas", lambda: None)
    monkeypatch.chdir(tmp_path)

    def made(name: str) -> World:
        world = World(tmp_path / name, typed_here(monkeypatch, capfd))
        monkeypatch.setattr(wiring, "index", world.opened)
        return world

    with plain_flows():
        yield made


def calls_of(world: World, kind: str, method: str) -> int:
    """How often an undisturbed command calls the method."""
    index = world.prepared_for(kind)
    index.method = method
    said = world.run(kind)
    assert said.code == 0, said.err
    assert index.num_calls > 0
    return index.num_calls


@pytest.mark.parametrize(("kind", "method"), WAYS)
def test_what_is_not_answered_once_is_tried_again(worlds: Any, kind: str, method: str) -> None:
    """By the phase; the command ends as if nothing had been."""
    half = (calls_of(worlds("undisturbed"), kind, method) + 1) // 2
    world = worlds("disturbed")
    index = world.prepared_for(kind)
    index.method, index.first, index.last = method, half, half
    said = world.run(kind)
    assert said.code == 0, said.err
    assert index.num_unanswered == 1
    assert world.latest(kind).state == "completed"
    index.method = ""
    if kind == "import":
        activate(said.json()["version"], index.inner)
        assert content_of(index.inner) == world.living.content()
    else:
        assert audited(world.living).findings == ()
    if kind == "export":
        assert said.json()["chunks"] == live_record(world.docs.inner).num_chunks


@pytest.mark.parametrize(("kind", "method"), WAYS)
def test_a_lasting_silence_ends_the_command(worlds: Any, kind: str, method: str) -> None:
    """After three tries of the phase, with the index's error and exit code; the run has failed."""
    half = (calls_of(worlds("undisturbed"), kind, method) + 1) // 2
    world = worlds("disturbed")
    index = world.prepared_for(kind)
    index.method, index.first, index.last = method, half, 10**9
    said = world.run(kind)
    assert said.code == IndexUnavailable.exit_code
    assert "mrag: the index gave no answer" in said.err
    kept = world.latest(kind)
    assert (kept.state, kept.kind) == ("failed", kind)
    assert index.num_unanswered == TRIES
    # What was done stays: the same command goes on.
    index.method = ""
    assert world.run(kind).code == 0


class Recorded:
    """A record of runs, for assertions."""

    def __init__(self) -> None:
        self.names: list[str] = []  # of runs and their tasks
        self.artifacts: dict[str, tuple[str, Any, str | None]] = {}
        self.events: list[str] = []

    @contextmanager
    def run(self, name: str, _parameters: Any) -> Iterator[str]:
        self.names.append(name)
        yield name

    @contextmanager
    def task(self, name: str) -> Iterator[str]:
        self.names.append(name)
        yield name

    def artifact(self, kind: str, key: str, value: Any, about: str | None = None) -> str:
        self.artifacts[key] = kind, value, about
        return key

    def update(self, key: str, value: Any) -> None:
        kind, _, about = self.artifacts[key]
        self.artifacts[key] = kind, value, about

    def repeats(self, message: str) -> None:
        self.events.append(message.splitlines()[0])

    def resumes(self) -> None:
        self.events.append("resumes")


def test_prefect_is_told_of_tries_progress_and_findings(
    worlds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an audit that was tried twice and found damage: by items, and what is wrong where."""
    world, recorded = worlds("damaged"), Recorded()
    index = world.prepared_for("repair")
    index.method, index.first, index.last = "vectors", 2, 2
    monkeypatch.setattr(run_record, "current", lambda: recorded)
    said = world.run("audit")
    assert said.code == 6
    assert recorded.names == ["mrag-audit", "find", "check"]
    assert recorded.events == ["the index gave no answer", "resumes"]
    kind, done, about = recorded.artifacts["docs-audit"]
    assert (kind, done) == ("progress", 100.0)
    assert (about or "").endswith(" items")
    kind, rows, _ = recorded.artifacts["docs-findings"]
    assert (kind, rows) == ("table", said.json()["findings"])
    assert {"docs-phases", "docs-summary"} <= recorded.artifacts.keys()
