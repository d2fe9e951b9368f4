"""Damages to Milvus Lite's folder, to rows and to staging: none passes unseen, and most are mended.

The table in docs/damage.md is this list; a test holds it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import MragError, PlanRefused, StagingError, VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.changed_rows import chunk_ids
from tests.support.damages import DAMAGES, HARMLESS, MENDED, REFUSED, Damage, flip
from tests.support.living_index import (
    Living,
    a_document,
    audited,
    content_of,
    repaired,
    repaired_as_command,
)

PAGE = Path(__file__).parents[2] / "docs" / "damage.md"
CASES = [
    pytest.param(damage, id=damage.name, marks=[] if number % 12 == 0 else [pytest.mark.slow])
    for number, damage in enumerate(DAMAGES)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[int, bytes]]]:
    """A folder with an index and its staging, and what the index holds."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, opened(folder) as index:
        patch.setattr("os.fsync", lambda _: None)  # no power is cut here
        living = Living(folder / "staging", [a_document(i) for i in range(10)], index)
        living.ingest()
        living.items = [a_document(0, edition=1), *[a_document(i) for i in range(2, 11)]]
        living.sync()
        content = living.content()
    return folder, content


@pytest.fixture
def folder(whole: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole[0], tmp_path / "copy"))


@contextmanager
def opened(folder: Path) -> Iterator[VectorIndex]:
    with closing(open_index(MilvusSpec(uri=str(folder / "index.db")), "docs")) as index:
        yield index


def living(folder: Path, index: VectorIndex) -> Living:
    return Living(folder / "staging", [], index)


def inflict(damage: Damage, folder: Path) -> None:
    if damage.files is not None:
        [place] = folder.glob(damage.below)
        damage.files(place)
        return
    assert damage.rows is not None
    with opened(folder) as index:
        record = live_record(index)
        damage.rows(index, record, chunk_ids(index, record))


def said(folder: Path) -> str:
    """What `mrag audit` says: its findings, or why it cannot look."""
    try:
        with opened(folder) as index:
            return "\n".join(str(one) for one in audited(living(folder, index)).findings)
    except MragError as error:
        return str(error) if error.fix else f"{error}: what to do is not said"


@pytest.mark.parametrize("damage", CASES)
def test_a_damage_is_found_and_what_staging_has_is_mended(
    damage: Damage, folder: Path, whole: tuple[Path, dict[str, dict[int, bytes]]]
) -> None:
    """Audit says it, repair mends it, and then every row is as it was, to the bit."""
    inflict(damage, folder)
    before = said(folder)
    assert damage.found in before
    assert "not said" not in before
    assert (before == "") == (damage.outcome == HARMLESS)
    if damage.outcome == REFUSED:
        with opened(folder) as index, pytest.raises(StagingError):
            repaired_as_command(living(folder, index))
    else:
        with opened(folder) as index:
            repaired_as_command(living(folder, index))
    after = said(folder)
    assert (after == "") == (damage.outcome in (MENDED, HARMLESS)), after
    with opened(folder) as index:
        assert content_of(index) == whole[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_flipped_bit_of_the_index_passes_unseen(
    seed: int, folder: Path, whole: tuple[Path, dict[str, dict[int, bytes]]]
) -> None:
    """Wherever it is: audit says it, or rows and rankings are as they were."""
    random = np.random.default_rng(seed)
    files = [
        f for f in sorted((folder / "index.db").rglob("*")) if f.is_file() and f.stat().st_size
    ]
    victim = files[random.integers(len(files))]
    flip(victim, int(random.integers(victim.stat().st_size)), int(random.integers(8)))
    if said(folder):
        with opened(folder) as index:
            repaired_as_command(living(folder, index))
        assert said(folder) == ""
    with opened(folder) as index, opened(whole[0]) as reference:
        assert content_of(index) == whole[1]
        assert rankings(index) == rankings(reference)


def rankings(index: VectorIndex) -> list[list[int]]:
    """The order in which each head finds all chunks by one of its vectors."""
    record = live_record(index)
    ids = chunk_ids(index, record)
    found = []
    for name in record.head_collections():
        query = index.vectors(name, ids[:1])[ids[0]][None]
        [ranking] = index.search([SearchRequest(name, query, len(ids))])
        found.append(ranking.ids[0].tolist())
    return found


def table() -> str:
    """The page's table."""
    lines = ["| where | damage | what comes of it |", "|---|---|---|"]
    lines += [f"| {d.where} | {d.what} | {d.outcome} |" for d in DAMAGES]
    return "\n".join(lines)


def test_the_page_has_these_damages() -> None:
    """At least forty, each once."""
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES) >= 40
    assert table() in PAGE.read_text("utf-8"), f"docs/damage.md lacks:\n{table()}"


# ------------------------------------------------------------------ advice, followed
def built(folder: Path) -> Living:
    """An index in memory that was built and not synced."""
    made = Living(folder / "staging", [a_document(i) for i in range(6)])
    made.ingest()
    return made


def test_a_deleted_manifest_is_written_anew_by_ingest(tmp_path: Path) -> None:
    """What a damaged manifest's message says: nothing is embedded again."""
    made = built(tmp_path)
    content = made.content()
    [manifest] = tmp_path.glob("staging/docs/*/manifest.json")
    manifest.write_text("{")
    with pytest.raises(StagingError, match=str(manifest)) as caught:
        made.ingest()
    assert "delete it and run `mrag ingest`" in caught.value.fix
    manifest.unlink()
    made.embedded = 0
    made.ingest()
    assert (made.embedded, made.content(), said_of(made)) == (0, content, "")


def test_a_folder_in_a_manifests_place_goes_as_its_message_says(tmp_path: Path) -> None:
    """It names the folder; ingest goes on without it."""
    made = built(tmp_path)
    content = made.content()
    [manifest] = tmp_path.glob("staging/docs/*/manifest.json")
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(StagingError, match=str(manifest)) as caught:
        made.ingest()
    assert "move the folder away" in caught.value.fix
    manifest.rename(tmp_path / "away")
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_a_deleted_shard_is_embedded_again_by_ingest(tmp_path: Path) -> None:
    """What a damaged shard's message says, where its version is still to be loaded."""
    made = built(tmp_path)
    content = made.content()
    file = sorted(tmp_path.glob("staging/docs/*/shards/*/heads/l00_h01*"))[0]
    flip(file, 100)
    made.index = ExactIndex("docs")
    with pytest.raises(StagingError, match="delete ") as caught:
        made.ingest()
    shard = file.parent.parent
    assert f"delete {shard}" in caught.value.fix
    shutil.rmtree(shard)
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_ingest_builds_a_lost_head_of_the_live_version_where_staging_is_lost_too(
    tmp_path: Path,
) -> None:
    """What repair says then; readers of the other heads are not disturbed."""
    made = built(tmp_path)
    content, record = made.content(), live_record(made.index)
    made.index._collections.pop(record.head_collections()[1])  # type: ignore[attr-defined]
    shutil.rmtree(tmp_path / "staging")
    with pytest.raises(VerifyFailed, match="it does not exist") as caught:
        repaired(made, with_staging=False)
    assert "mrag ingest" in caught.value.fix
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_ingest_sends_a_live_version_that_lost_rows_to_repair(tmp_path: Path) -> None:
    """It never drops what is live; repair mends it, from the staging that ingest has made."""
    made = built(tmp_path)
    content, record = made.content(), live_record(made.index)
    made.index.delete(record.head_collections()[1], chunk_ids(made.index, record)[:2])
    with pytest.raises(PlanRefused, match="live") as caught:
        made.ingest()
    assert "mrag repair" in caught.value.fix
    repaired(made)
    assert (made.content(), said_of(made)) == (content, "")


def said_of(made: Living) -> str:
    return "\n".join(str(one) for one in audited(made).findings)
