"""Every command whose phases workers can do, on Ray workers: the rows are those of one process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.cli import orphans
from mrag_pipeline.config import Config
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.stored_rows import words_of_version
from mrag_pipeline.wiring import phase_work
from tests.support.changed_rows import chunk_ids
from tests.support.living_index import content_of
from tests.support.milvus_lite_server import lite_server
from tests.support.project_folder import Mrag, a_text

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.usefixtures("local_ray")]

NUM_DOCUMENTS = 24
ON_WORKERS: dict[str, str] = {}  # as mrag.toml says
# The same corpus in an index of its own.
ALONE = {"milvus.uri": "alone.db", "staging.uri": "alone", "workers.pool": "serial"}

Rows = dict[str, dict[int, bytes]]
Pair = tuple[Rows, Rows]  # of the index that workers have built, and of the other


def write_corpus(edition: int) -> None:
    """Four files; in the second edition every sixth document has changed, and two are new."""
    texts = {f"d{i}": a_text(i) for i in range(NUM_DOCUMENTS)}
    if edition == 2:
        texts |= {f"d{i}": f"{a_text(i)} Told anew." for i in range(0, NUM_DOCUMENTS, 6)}
        texts |= {f"new{i}": a_text(100 + i) for i in range(2)}
        del texts["d2"]
    Path("corpus").mkdir(exist_ok=True)
    for part in range(4):
        rows = [json.dumps({"id": name, "text": text}) for name, text in [*texts.items()][part::4]]
        Path("corpus", f"{part}.jsonl").write_text("\n".join(rows) + "\n")


def damage(index: VectorIndex) -> None:
    """Rows of a head and words are lost: the same in both indexes."""
    record = live_record(index)
    ids = chunk_ids(index, record)
    index.delete(record.head_collections()[1], ids[3:6])
    index.delete(words_of_version(record).name, ids[7:8])


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file's content, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def opened_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what workers have been told to open, as pools come."""
    opened: list[str] = []
    init = RayPool.__init__

    def noted(self: RayPool, config: Config, open_work: Any, **options: Any) -> None:
        opened.append(getattr(getattr(open_work, "func", open_work), "__name__", "embedder"))
        init(self, config, open_work, **options)

    monkeypatch.setattr(RayPool, "__init__", noted)
    return opened


def both(mrag: Mrag, *arguments: str, index: str = "stories") -> Pair:
    """The rows of both indexes after the command: on workers, and in one process."""
    found = []
    for settings in (ON_WORKERS, ALONE):
        words = [word for name, value in settings.items() for word in ("-s", f"{name}={value}")]
        said = mrag(*arguments, "--index", index, *words)
        assert said.code == 0, said.err
        found.append(in_index(settings | {"index": index}, content_of))
    return found[0], found[1]


def in_index(settings: dict[str, str], look: Callable[[VectorIndex], Any]) -> Any:
    """What is seen in an index of this folder's config."""
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        table, _, key = name.rpartition(".")
        (nested.setdefault(table, {}) if table else nested)[key] = value
    with closing(wiring.index(Config.load(Path("mrag.toml"), nested))) as index:
        return look(index)


def test_every_phase_on_workers_leaves_the_rows_of_one_process(
    mrag: Mrag, minilm: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest, sync, repair, export and import: equal to the bit; audits find nothing."""
    opened = opened_by(monkeypatch)
    # It would have this process ended when the tests' Ray is.
    monkeypatch.setattr(orphans, "guard", lambda: None)
    with lite_server(tmp_path / "shared.db") as server:
        Path("mrag.toml").write_text(
            f'index = "stories"\n[corpus]\nuri = "corpus"\n[encoder]\nmodel = "{minilm.model}"\n'
            f'[milvus]\nuri = "{server.uri}"\n[staging]\nuri = "staging"\n'
            '[workers]\npool = "ray"\ncount = 2\ndevice = "cpu"\nphase_mb = 0\n'
            "[sharding]\nshard_mb = 0.002\n"
        )
        write_corpus(1)
        on_workers, alone = both(mrag, "ingest")
        assert on_workers == alone
        assert len(on_workers["texts"]) >= NUM_DOCUMENTS
        write_corpus(2)
        synced, alone = both(mrag, "sync")
        assert synced == alone != on_workers
        for settings in (ON_WORKERS, ALONE):
            in_index(settings, damage)
        assert both(mrag, "repair") == (synced, synced)
        assert both(mrag, "audit") == (synced, synced)
        for folder, pool in (("exported", "ray"), ("exported-alone", "serial")):
            said = mrag("export", folder, "-s", f"workers.pool={pool}")
            assert said.code == 0, said.err
        assert files_of(Path("exported")) == files_of(Path("exported-alone"))
        assert both(mrag, "import", "exported", "--activate", index="copied") == (synced, synced)
    is_opener = {
        name
        for name, value in vars(phase_work).items()
        if inspect.isfunction(value) and value.__module__ == phase_work.__name__
    }
    assert {*opened} - {"embedder"} == {name for name in is_opener if not name.startswith("_")}
