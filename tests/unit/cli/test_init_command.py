"""`mrag init`: what it writes, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.cli.init import init
from mrag_pipeline.config import Config, template
from mrag_pipeline.errors import ConfigError

FILES = ("handbook.jsonl", "mrag.toml", "questions.jsonl")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_writes_the_template(tmp_path: Path) -> None:
    """Every key with its default."""
    init(Path("mrag.toml"), force=False, ask=False)
    assert (tmp_path / "mrag.toml").read_text("utf-8") == template()


def test_the_example_fits_together(tmp_path: Path) -> None:
    """Its config names its corpus and questions, whose answers are documents of the corpus."""
    init(Path("mrag.toml"), force=False, example=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    config = Config.load(None)
    assert config.corpus.uri == str(tmp_path / "handbook.jsonl")
    assert config.gate.queries == str(tmp_path / "questions.jsonl")
    ids = {json.loads(line)["id"] for line in Path(config.corpus.uri).read_text().splitlines()}
    for line in Path(config.gate.queries).read_text().splitlines():
        for aspect in json.loads(line)["relevant"]:
            assert ({aspect} if isinstance(aspect, str) else set(aspect)) <= ids


def test_the_example_overwrites_nothing(tmp_path: Path) -> None:
    """None of its files is written if one exists."""
    (tmp_path / "questions.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"questions\.jsonl already exists"):
        init(Path("mrag.toml"), force=False, example=True)
    assert [path.name for path in tmp_path.iterdir()] == ["questions.jsonl"]


def test_the_example_has_names_of_its_own() -> None:
    """A path beside it would be ignored without a word."""
    with pytest.raises(ConfigError, match="--example and other"):
        init(Path("other.toml"), force=False, example=True)
