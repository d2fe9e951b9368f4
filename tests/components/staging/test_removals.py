"""The files that hold what a sync removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DeltaStaging, Mark
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import deltas
from mrag_pipeline.staging.deltas import open_delta

MARKS = [Mark(number, f"d{number}", "print") for number in range(7)]


@pytest.fixture
def delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeltaStaging:
    """One whose files hold three chunks at most."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    monkeypatch.setattr(deltas, "_PART_MARKS", 3)
    return open_delta(StagingSpec(uri=str(tmp_path)), "docs", "vaaaaaaaaaaaa", 1)


def folder(tmp_path: Path) -> Path:
    return tmp_path / "docs" / "vaaaaaaaaaaaa" / "syncs" / "00001"


def test_few_are_one_file(delta: DeltaStaging, tmp_path: Path) -> None:
    """The one that mrag 0.1 reads."""
    delta.write_removed([MARKS[:2]])
    assert [path.name for path in folder(tmp_path).iterdir()] == ["removed.parquet"]


@pytest.mark.parametrize("count", [3, 6, 7])
def test_many_are_no_file_that_earlier_ones_would_take_for_all(
    delta: DeltaStaging, tmp_path: Path, count: int
) -> None:
    """They find no removed.parquet, and say so; one that they have written is replaced."""
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "removed.parquet").write_bytes(b"of an earlier mrag, and damaged")
    delta.write_removed([MARKS[:count]])
    assert [path.name for path in folder(tmp_path).iterdir()] == ["removed"]
    assert len(list((folder(tmp_path) / "removed").iterdir())) == count // 3 + 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lost_part_is_noticed(delta: DeltaStaging, tmp_path: Path, number: int) -> None:
    """The last one too."""
    delta.write_removed([MARKS])
    (folder(tmp_path) / "removed" / f"{number:05d}.parquet").unlink()
    with pytest.raises(StagingError, match=r"removed.*\.parquet is missing or damaged") as caught:
        list(delta.removed())
    assert caught.value.fix.startswith("run `mrag sync`")
