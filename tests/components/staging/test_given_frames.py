"""Frames of polars and datasets of Hugging Face, as a program gives them to `Index.ingest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.staging.given import write_given

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "A herding dog.", "day": date(2020, 1, 2), "tags": ["x", "y"]},
    {"id": "b", "text": "A star.", "day": None, "tags": []},
]


def test_a_frame_of_polars_keeps_its_types(tmp_path: Path) -> None:
    """It gives an Arrow stream; a lazy one says to collect it."""
    pl = pytest.importorskip("polars")
    corpus = write_given(str(tmp_path), "docs", pl.DataFrame(ROWS))
    assert pq.read_table(corpus["uri"]).to_pylist() == ROWS
    with pytest.raises(ConfigError, match="LazyFrame") as caught:
        write_given(str(tmp_path), "docs", pl.LazyFrame(ROWS))
    assert "collect()" in caught.value.fix


@pytest.mark.parametrize(
    "as_given",
    [lambda whole: whole, lambda whole: whole.to_iterable_dataset()],
    ids=["dataset", "streamed"],
)
def test_a_dataset_of_hugging_face_is_read_row_by_row(
    tmp_path: Path, as_given: Callable[[Any], object]
) -> None:
    """Rows that were selected, not the table behind them; a dict of splits is refused."""
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list([*ROWS, {"id": "c", "text": "no", "day": None, "tags": []}])
    file = Path(str(write_given(str(tmp_path), "docs", as_given(whole.select([0, 1])))["uri"]))
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert rows == [ROWS[0] | {"day": "2020-01-02"}, ROWS[1]]
    with pytest.raises(ConfigError, match="DatasetDict"):
        write_given(str(tmp_path), "docs", datasets.DatasetDict({"train": whole}))
