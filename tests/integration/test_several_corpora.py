"""Several corpora in one index, and a folder of which every kind is read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import CorpusSpec


def documents(reader: CorpusReader) -> dict[str, Document]:
    """By their ids; nothing may be a dead letter."""
    items = list(reader.read(list(reader.slices(MAX_SHARD_BYTES))))
    assert not [item for item in items if isinstance(item, DeadLetter)]
    return {item.id: item for item in items if isinstance(item, Document)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of several kinds that name their fields differently, and a database."""
    below = tmp_path / "mixed"
    below.mkdir()
    (below / "news.jsonl").write_text(json.dumps({"id": "n1", "body": "News of the day."}) + "\n")
    (below / "shop.csv").write_text("sku,description\ns1,A lamp of brass.\n")
    (below / "notes.md").write_text("# Notes\n\nA note on lamps.\n")
    (below / "photo.jpg").write_bytes(b"\xff\xd8")
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, text TEXT)")
        database.execute("INSERT INTO articles VALUES (1, 'A row of a table.')")
    database.close()
    return tmp_path


def test_each_corpus_has_its_own_fields(folder: Path) -> None:
    """`[[corpus]]`, with relative paths, prefixes of ids, and a reading for each."""
    file = folder / "mrag.toml"
    file.write_text(
        """[[corpus]]
        uri = "mixed/news.jsonl"
        [[corpus]]
        uri = "mixed/shop.csv"
        id_field = "sku"
        text_field = "description"
        id_prefix = "shop-"
        [[corpus]]
        uri = "sqlite:///shop.db"
        query = "articles"
        id_prefix = "row-"
        """
    )
    config = Config.load(file)
    reader = open_corpus(config.corpus)
    found = documents(reader)
    assert {name: d.text for name, d in found.items()} == {
        "n1": "News of the day.",
        "shop-s1": "A lamp of brass.",
        "row-1": "A row of a table.",
    }
    # What a version keeps of them opens them again.
    kept = Config.parse(json.loads(json.dumps(config.to_dict())))
    assert kept.corpus == config.corpus
    assert documents(open_corpus(kept.corpus, reader.reading())) == found
    assert config.corpus.uri.count(", ") == 2


def test_a_corpus_of_the_command_line_takes_their_place(folder: Path) -> None:
    """`mrag ingest other.jsonl` reads that and nothing else."""
    file = folder / "mrag.toml"
    file.write_text('[[corpus]]\nuri = "mixed/news.jsonl"\n[[corpus]]\nuri = "mixed/shop.csv"\n')
    config = Config.load(file, {"corpus": {"uri": str(folder / "mixed/notes.md")}})
    assert config.corpus == CorpusSpec(str(folder / "mixed/notes.md"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"uri": "a.jsonl", "texts": "x"}, r"corpus\[2\].texts"),
        ({"text_field": "x"}, "number 2 has no uri"),
        ({"uri": "s3://key:secret@bucket/a"}, "contains credentials"),
    ],
)
def test_a_wrong_corpus_of_several_is_named(source: dict[str, str], message: str) -> None:
    """By its number and key."""
    with pytest.raises(ConfigError, match=message):
        Config.parse({"corpus": [{"uri": "b.jsonl"}, source]})


def test_a_databases_user_may_stand_in_its_uri_and_no_password() -> None:
    """What is stored with every version holds no secret."""
    Config.parse({"corpus": {"uri": "postgresql://reader@host/shop", "query": "articles"}})
    with pytest.raises(ConfigError, match="contains credentials"):
        Config.parse({"corpus": {"uri": "postgresql://reader:pw@host/shop", "query": "articles"}})


def test_every_kind_of_a_folder_is_read(folder: Path) -> None:
    """Format "all": each format's fields by themselves; what nothing reads is named."""
    spec = CorpusSpec(str(folder / "mixed"), format="all")
    reader = open_corpus(spec)
    found = documents(reader)
    assert sorted(d.text.splitlines()[-1] for d in found.values()) == [
        "A lamp of brass.",
        "A note on lamps.",
        "News of the day.",
    ]
    assert {"n1", "notes.md"} < found.keys()
    assert [Path(path).name for path in reader.left_out()] == ["photo.jpg"]
    assert documents(open_corpus(spec, reader.reading())) == found
    with pytest.raises(ConfigError, match="several formats") as error:
        open_corpus(CorpusSpec(str(folder / "mixed"))).describe()
    assert "'all'" in error.value.fix
