"""Which settings the evaluation flow uses for a data set."""

from __future__ import annotations

from mrag_pipeline.config import Config
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.flows.evaluate import Labels, _settings


def labels(name: str, corpus: str | None = "/sets/it.jsonl") -> Labels:
    settings = {"uri": corpus, "format": "jsonl", "id_field": "id"} if corpus else None
    return Labels(LabelledSet(name, (), "any"), settings)


def test_a_data_set_names_its_index_and_corpus() -> None:
    """wikipedia-v1 is index wikipedia_v1, whatever corpus the config file has."""
    settings = _settings(labels("wikipedia-v1"), {"corpus": {"uri": "mine", "id_field": "url"}})
    config = Config.parse(settings)
    assert config.index == "wikipedia_v1"
    assert (config.corpus.uri, config.corpus.id_field) == ("/sets/it.jsonl", "id")


def test_the_user_may_name_another_index_and_set_anything_else() -> None:
    """Settings from the command line win."""
    given = {"index": "wide", "chunking": {"max_tokens": 64}}
    config = Config.parse(_settings(labels("wikipedia-v1"), given))
    assert (config.index, config.chunking.max_tokens) == ("wide", 64)


def test_any_folder_name_gives_a_valid_index_name() -> None:
    """Starts with a letter; other characters become single underscores."""
    for name, index in (
        ("2024 -- legal.set", "set_2024_legal_set"),
        ("__x__", "x"),
        ("日本", "set"),
    ):
        assert Config.parse(_settings(labels(name), {})).index == index


def test_own_queries_leave_the_settings_alone() -> None:
    """They are searched in the index that the config names."""
    assert _settings(labels("mine", None), {"index": "docs"}) == {"index": "docs"}
