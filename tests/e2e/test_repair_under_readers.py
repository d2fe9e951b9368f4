"""`mrag repair` while a service answers: answers are right, or say by name what is missing.

The service has one process. Milvus Lite is shared through `milvus-lite server`, which both reach;
a database of one owner is the last test.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.callers import Callers
from tests.support.changed_rows import change_chunk, chunk_ids, exchange_vectors
from tests.support.living_index import content_of
from tests.support.milvus_lite_server import lite_server
from tests.support.milvus_server import milvus_server
from tests.support.project_folder import a_text, run, write_lines
from tests.support.served_project import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

QUESTIONS = [a_text(number) for number in (3, 11, 19)]
OTHER = "The text of nobody."
Damage = Callable[[VectorIndex, VersionRecord, list[int]], object]


@dataclass(frozen=True, slots=True)
class Shared:
    """A project whose index several processes reach."""

    folder: Path
    index: VectorIndex
    content: dict[str, dict[int, bytes]]


@pytest.fixture(scope="module", params=["Lite", "Milvus"])
def shared(
    request: pytest.FixtureRequest, minilm: EncoderSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """Thirty documents, live, on `milvus-lite server` and on a Milvus server."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "project" / "corpus").mkdir(parents=True)
    write_lines(folder / "project" / "corpus" / "a.jsonl", range(30))
    (folder / "milvus").mkdir()
    server = lite_server(folder / "x.db") if request.param == "Lite" else None
    with server or milvus_server(folder / "milvus") as running:
        (folder / "project" / "mrag.toml").write_text(
            f'index = "stories"\n[corpus]\nuri = "corpus"\n[encoder]\nmodel = "{minilm.model}"\n'
            f'[milvus]\nuri = "{running.uri}"\n[workers]\npool = "serial"\n'
        )
        ended = run("ingest", cwd=folder / "project", log=folder / "ingest")
        assert ended.code == 0, ended.err
        config = Config.load(folder / "project" / "mrag.toml")
        with closing(wiring.index(config)) as index:
            yield Shared(folder / "project", index, content_of(index))


@pytest.fixture
def service(shared: Shared, tmp_path: Path) -> Iterator[Service]:
    """One that is ready, has all collections loaded, and asks the index for every vector."""
    settings = ("-s", "serve.vectors_mb=0")
    with serving(shared.folder, tmp_path / "serve", *settings, backend="process") as running:
        yield running


@dataclass
class Readers(Callers):
    """Two callers who ask without a pause."""

    url: str
    texts: frozenset[str]  # of the corpus
    problems: list[dict[str, object]] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                for question in QUESTIONS:
                    body = {"query": question, "k": 3}
                    answered = client.post(f"{self.url}/v1/search", json=body)
                    self.statuses[answered.status_code] += 1
                    if answered.status_code != 200:
                        self.problems.append(answered.json())
                        continue
                    hits = answered.json()["hits"]
                    # Each question is a document's own text.
                    if not hits or not question.startswith(hits[0]["text"][:40]):
                        self.wrong.append(answered.json())
                    self.wrong += [hit for hit in hits if hit["text"][:40] not in self.texts]


def found(service: Service) -> list[list[tuple[str, str]]]:
    """The documents and passages of each question's answer."""
    answers = [service.search(question, k=5) for question in QUESTIONS]
    return [[(hit["document_id"], hit["text"]) for hit in one["hits"]] for one in answers]


def rows_lost(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    index.delete(record.head_collections()[1], ids[5:8])


def vectors_exchanged(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    exchange_vectors(index, record, ids[5:7])


def head_dropped(index: VectorIndex, record: VersionRecord, _ids: list[int]) -> None:
    # As an operator would, by Milvus's own client: ours refuses.
    assert isinstance(index, MilvusIndex)
    index._client.drop_collection(record.head_collections()[2])


@pytest.mark.parametrize("damage", [rows_lost, vectors_exchanged, head_dropped])
def test_readers_are_answered_or_told_the_heads_name(
    shared: Shared, service: Service, tmp_path: Path, damage: Damage
) -> None:
    """While it is damaged and while it is mended; afterwards every answer is as it was."""
    before, record = found(service), live_record(shared.index)
    texts = frozenset(text[:40] for answer in before for _, text in answer)
    texts |= frozenset(a_text(number)[:40] for number in range(30))
    with Readers(service.url, texts) as readers:
        damage(shared.index, record, chunk_ids(shared.index, record))
        while sum(readers.statuses.values()) < 6:
            assert service.process.poll() is None
            time.sleep(0.01)
        ended = run("repair", "--json", cwd=shared.folder, log=tmp_path / "repair")
        assert ended.code == 0, ended.err
    assert json.loads(ended.out)["restored_rows"] > 0
    assert readers.wrong == []
    assert set(readers.statuses) <= {200, 503}, readers.problems[:3]
    if damage is head_dropped:
        name = record.head_collections()[2]
        assert readers.problems
        assert all(name in str(problem["detail"]) for problem in readers.problems)
    else:
        assert readers.problems == []
    assert found(service) == before
    assert content_of(shared.index) == shared.content
    audited = run("audit", cwd=shared.folder, log=tmp_path / "audit")
    assert audited.code == 0, audited.out


def test_a_text_that_is_not_the_corpus_s_is_mended_under_a_service(
    shared: Shared, service: Service, tmp_path: Path
) -> None:
    """The service reads rows as they are, so until then it tells the damaged one."""
    before, record = found(service), live_record(shared.index)
    [first] = [
        one
        for one, row in shared.index.chunks(
            record.chunks_collection(), chunk_ids(shared.index, record)
        ).items()
        if row.text == before[0][0][1]
    ]
    change_chunk(shared.index, record, first, text=OTHER)
    assert any(text == OTHER for answer in found(service) for _, text in answer)
    ended = run("repair", "--json", cwd=shared.folder, log=tmp_path / "repair")
    assert ended.code == 0, ended.err
    assert found(service) == before
    assert content_of(shared.index) == shared.content


def test_a_database_of_one_owner_is_repaired_when_its_service_has_ended(
    minilm: EncoderSpec, tmp_path: Path
) -> None:
    """Milvus Lite: `mrag repair` is refused, the service answers on; afterwards it mends."""
    (tmp_path / "corpus").mkdir()
    write_lines(tmp_path / "corpus" / "a.jsonl", range(30))
    (tmp_path / "mrag.toml").write_text(
        f'[corpus]\nuri = "corpus"\n[encoder]\nmodel = "{minilm.model}"\n'
        '[workers]\npool = "serial"\n'
    )
    assert run("ingest", cwd=tmp_path, log=tmp_path / "ingest").code == 0
    config = Config.load(tmp_path / "mrag.toml")
    with closing(wiring.index(config)) as index:
        content, record = content_of(index), live_record(index)
        rows_lost(index, record, chunk_ids(index, record))
    with serving(tmp_path, tmp_path / "serve", backend="process") as service:
        before = found(service)
        refused = run("repair", cwd=tmp_path, log=tmp_path / "refused")
        assert refused.code == 5, refused.err
        assert "is open in another process" in refused.err
        assert found(service) == before
        assert service.stop() == (0, [])
    ended = run("repair", cwd=tmp_path, log=tmp_path / "repair")
    assert ended.code == 0, ended.err
    with closing(wiring.index(config)) as index:
        assert content_of(index) == content
