"""Files of queries and judgements as editors of Windows, Macs and Asia save them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.beir import read_beir
from mrag_pipeline.corpus.labelled.query_file import read_labelled
from mrag_pipeline.corpus.labelled.trec import read_trec
from mrag_pipeline.errors import BrokenFile

SAVED: dict[str, Callable[[str], bytes]] = {
    "mark": lambda text: text.encode("utf-8-sig"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "mark and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "UTF-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "old Mac": lambda text: text.replace("\n", "\r").encode(),
}
LINE = "café \u2028 menu"  # a separator that ends no line


@pytest.fixture(params=SAVED, ids=lambda name: name.replace(" ", "-"))
def save(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    def saved(path: Path, text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(SAVED[request.param](text))

    return saved


def test_a_beir_folder(tmp_path: Path, save: Callable[[Path, str], None]) -> None:
    """Queries and judgements."""
    save(tmp_path / "queries.jsonl", json.dumps({"_id": "q1", "text": LINE}) + "\n")
    save(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    [query] = read_beir(tmp_path).queries
    assert (query.text, query.grades) == (LINE, {"d1": 1})


@pytest.mark.parametrize(
    "topics", [f"7\t{LINE}\n", f"<top>\n<num> Number: 7\n<title> {LINE}\n</top>\n"]
)
def test_trec_topics_and_judgements(
    tmp_path: Path, save: Callable[[Path, str], None], topics: str
) -> None:
    """Tagged, and by lines."""
    save(tmp_path / "topics", topics)
    save(tmp_path / "qrels", "7 0 d1 1\n7 0 d2 0\n")
    [query] = read_trec(tmp_path / "topics", tmp_path / "qrels").queries
    assert (query.text.split(), query.grades) == (LINE.split(), {"d1": 1})


def test_labelled_queries(tmp_path: Path, save: Callable[[Path, str], None]) -> None:
    """What `mrag evaluate --queries` reads."""
    line = json.dumps({"text": LINE, "relevant": ["d1"]}, ensure_ascii=False)
    save(tmp_path / "q.jsonl", f"{line}\n\n{line}\n")
    assert [query.text for query in read_labelled(tmp_path / "q.jsonl").queries] == [LINE, LINE]


@pytest.mark.parametrize("saved", [SAVED["mark"], SAVED["CRLF"], SAVED["mark and CRLF"]])
def test_a_config_file(tmp_path: Path, saved: Callable[[str], bytes]) -> None:
    """TOML is UTF-8; a mark and Windows's line ends cost nothing."""
    (tmp_path / "mrag.toml").write_bytes(saved('index = "docs"\n[corpus]\nuri = "café"\n'))
    config = Config.load(tmp_path / "mrag.toml")
    assert (config.index, Path(config.corpus.uri).name) == ("docs", "café")


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels.tsv"])
def test_bytes_that_are_no_text_are_refused_by_name(tmp_path: Path, name: str) -> None:
    """One line that says what to do."""
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "x"}\n')
    (tmp_path / "qrels.tsv").write_text("q1\td1\t1\n")
    (tmp_path / name).write_bytes(b"\x00\x81\xfe\xff\x8d" * 50)
    with pytest.raises(BrokenFile, match=name):
        read_beir(tmp_path)
