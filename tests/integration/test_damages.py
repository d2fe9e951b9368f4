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

from mrag_pipeline.errors import MragError, StagingError
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.changed_rows import chunk_ids
from tests.support.damages import DAMAGES, HARMLESS, MENDED, REFUSED, Damage, flip
from tests.support.living_index import (
    Living,
    a_document,
    audit_says,
    content_of,
    repaired_as_command,
)

PAGE = Path(__file__).parents[2] / "docs" / "damage.md"
CASES = [
    pytest.param(damage, id=damage.name, marks=[] if number % 12 == 0 else [pytest.mark.long])
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
    """What `mrag audit` says, or why the index cannot be opened."""
    try:
        with opened(folder) as index:
            return audit_says(living(folder, index))
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


@pytest.mark.long
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
