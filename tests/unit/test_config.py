"""The config: defaults, wrong keys and values, and settings from the command line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config, merged, setting, template
from mrag_pipeline.domain.strategies import strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import ConfigError, NewerFormat
from mrag_pipeline.settings.retrieve import RetrieveSpec, VoteConstants, VoterShares


def test_the_template_is_the_defaults() -> None:
    """`mrag init` writes every default, so changing one line changes one thing."""
    assert Config.parse(tomllib.loads(template())) == Config.parse({})


# A key whose default is the strategy's own, or another key's value, stands there as a comment.
OPTIONAL = re.compile(r"^# (\w+) = (\S+)", re.MULTILINE)


def test_the_template_names_every_key() -> None:
    """The file shows every setting that exists, and no other; tables within tables too."""

    def check(shown: Mapping[str, Any], table: type, name: str) -> None:
        hints = get_type_hints(table)
        defaults = {key.name: key.default for key in dataclasses.fields(table)}
        unset = {key for key, default in defaults.items() if default is None}
        assert set(shown) == set(hints) - unset, name
        assert unset <= set(dict(OPTIONAL.findall(template()))), name
        for key, hint in hints.items():
            if dataclasses.is_dataclass(hint):
                check(shown[key], hint, f"{name}.{key}")  # type: ignore[arg-type]

    shown = tomllib.loads(template())
    assert set(shown) == set(Config.model_fields)
    for name, field in Config.model_fields.items():
        if dataclasses.is_dataclass(field.annotation):
            check(shown[name], field.annotation, name)


def test_the_template_shows_the_default_strategys_own_constants() -> None:
    """Uncommenting what it says of the vote and its voters changes nothing."""
    commented = {key: float(value) for key, value in OPTIONAL.findall(template())}
    del commented["phase_workers"]
    assert commented.pop("decay") == strategy("aspect").vote.decay
    shares = {key: commented.pop(key) for key in ("heads", "standard", "lexical")}
    spec = RetrieveSpec(vote=VoteConstants(**commented), voters=VoterShares(**shares))
    assert choose_strategy("", {}, spec) == choose_strategy("", {}, RetrieveSpec())


@pytest.mark.parametrize(
    ("values", "where", "hint"),
    [
        ({"chunkng": {}}, "`chunkng`", "did you mean `chunking`?"),
        ({"chunking": {"max_token": 9}}, "`chunking.max_token`", "`chunking.max_tokens`?"),
        ({"milvus": {"url": "x.db"}}, "`milvus.url`", "did you mean `milvus.uri`?"),
        ({"workers": {"zzz": 1}}, "`workers.zzz`", "`mrag init` writes every key"),
        ({"retrieve": {"window": {}}}, "`retrieve.window`", "did you mean `retrieve.windows`?"),
        (
            {"retrieve": {"windows": {"span_word": 9}}},
            "`retrieve.windows.span_word`",
            "did you mean `retrieve.windows.span_words`?",
        ),
        ({"retrieve": {"voters": {"bm25": 1}}}, "`retrieve.voters.bm25`", "`mrag init` writes"),
    ],
)
def test_an_unknown_key_suggests_the_similar_one(
    values: dict[str, Any], where: str, hint: str
) -> None:
    """The error names the unknown key and the one that was probably meant."""
    with pytest.raises(ConfigError) as caught:
        Config.parse(values)
    assert where in caught.value.found
    assert hint in caught.value.fix


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"index": 3}, "index"),
        ({"chunking": {"max_tokens": "many"}}, "chunking.max_tokens"),
        ({"chunking": {"max_tokens": 12.5}}, "chunking.max_tokens"),
        ({"chunking": {"title": "postfix"}}, "chunking.title"),
        ({"encoder": {"layers": 3}}, "encoder.layers"),
        ({"encoder": {"dtype": "int4"}}, "encoder.dtype"),
        ({"corpus": "docs.jsonl"}, "corpus"),
        ({"workers": {"pool": "dask"}}, "workers.pool"),
        ({"workers": {"device": "gpu"}}, "workers.device"),
        ({"staging": {"compression": "zip"}}, "staging.compression"),
        ({"retrieve": {"vote": 2}}, "retrieve.vote"),
    ],
)
def test_a_wrong_value_is_reported_with_its_key(values: dict[str, Any], where: str) -> None:
    """The error starts with the key."""
    with pytest.raises(ConfigError) as caught:
        Config.parse(values)
    assert caught.value.found.startswith(where)


@pytest.mark.parametrize(
    ("assignment", "found", "expected"),
    [
        ("workers.threads=0", "workers.threads = 0", "a number above 0"),
        ("workers.count=-1", "workers.count = -1", "a number of at least 0"),
        ("workers.count=many", "workers.count = 'many'", "a whole number"),
        ("workers.count=1.5", "workers.count = 1.5", "a whole number"),
        ("workers.phase_workers=-1", "workers.phase_workers = -1", "a number of at least 0"),
        ("workers.phase_workers=all", "workers.phase_workers = 'all'", "a whole number"),
        ("milvus.timeout_s=inf", "milvus.timeout_s = inf", "a finite number"),
        ("milvus.timeout_s=0", "milvus.timeout_s = 0", "a number above 0"),
        ("ingest.min_recall=1.1", "ingest.min_recall = 1.1", "a number of at most 1"),
        ("chunking.title=x", "chunking.title = 'x'", "'prefix' or 'none'"),
        ("encoder.layers=3", "encoder.layers = 3", "a list in square brackets"),
        ('encoder.layers=["a"]', "encoder.layers[0] = 'a'", "a whole number"),
        ("serve.log_queries=maybe", "serve.log_queries = 'maybe'", "true or false"),
        ("gate.queries=5", "gate.queries = 5", "a string"),
        ("retrieve.k=0", "retrieve.k = 0", "a number above 0"),
        ("retrieve.vote.power=0.5", "retrieve.vote.power = 0.5", "a number of at least 1"),
        ("retrieve.vote.coverage=two", "retrieve.vote.coverage = 'two'", "a number"),
        ("retrieve.voters.heads=-1", "retrieve.voters.heads = -1", "a number of at least 0"),
        (
            "retrieve.depth.candidates=20000",
            "retrieve.depth.candidates = 20000",
            "a number of at most 16384",
        ),
        (
            "milvus.index_params={M = [1]}",
            "milvus.index_params.M = [1]",
            "a string, a number, or true or false",
        ),
    ],
)
def test_a_wrong_value_says_what_was_expected(assignment: str, found: str, expected: str) -> None:
    """In plain words, with the key to change, and without the validation library's terms."""
    with pytest.raises(ConfigError) as caught:
        Config.parse(setting(assignment))
    assert (caught.value.found, caught.value.expected) == (found, expected)
    assert found.split(" = ")[0] in caught.value.fix


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("chunking", "max_tokens", -1),
        ("sharding", "shard_mb", -0.5),
        ("sharding", "max_files", 0),
        ("workers", "count", -2),
        ("workers", "threads", 0),
        ("workers", "in_flight", 0),
        ("workers", "attempts", 0),
        ("workers", "gpus_per_worker", 0.0),
        ("workers", "batch_tokens", 0),
        ("milvus", "timeout_s", 0.0),
        ("milvus", "timeout_s", float("nan")),
        ("milvus", "timeout_s", float("inf")),
        ("milvus", "insert_rows", 0),
        ("milvus", "search_threads", 0),
        ("corpus", "max_document_mb", 0.0),
        ("ingest", "verify_k", 0),
        ("ingest", "max_dead_letter_share", -0.1),
        ("ingest", "max_dead_letter_share", 1.1),
        ("ingest", "min_recall", 1.1),
        ("retrieve", "k", 0),
    ],
)
def test_a_number_out_of_range_is_refused(section: str, key: str, value: float) -> None:
    """When the config is parsed; the error names the setting."""
    with pytest.raises(ConfigError, match=rf"^{section}\.{key} = "):
        Config.parse({section: {key: value}})


@pytest.mark.parametrize("name", ["2docs", "a b", ""])
def test_a_bad_index_name_is_refused(name: str) -> None:
    """The index name is part of every collection's name."""
    with pytest.raises(ConfigError, match="index name"):
        Config.parse({"index": name})


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config means the same in whichever folder the command runs."""
    (tmp_path / "project" / "model").mkdir(parents=True)
    file = tmp_path / "project" / "mrag.toml"
    file.write_text(
        '[corpus]\nuri = "data/*.jsonl"\n[encoder]\nmodel = "model"\n'
        '[staging]\nuri = "s"\n[milvus]\nuri = "x.db"\n'
    )
    monkeypatch.chdir(tmp_path)
    config = Config.load(Path("project/mrag.toml"))
    project = tmp_path / "project"
    assert config.corpus.uri == str(project / "data/*.jsonl")
    assert config.encoder.model == str(project / "model")
    assert config.staging.uri == str(project / "s")
    assert config.milvus.uri == str(project / "x.db")


def test_paths_on_the_command_line_are_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the config file, which may be in another folder."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mrag.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    config = Config.load(Path("project/mrag.toml"), {"corpus": {"uri": "a.jsonl"}})
    assert config.corpus.uri == str(tmp_path / "a.jsonl")


def test_default_paths_are_relative_to_the_file_too(tmp_path: Path) -> None:
    """A worker in another folder, or on another machine, means the same place."""
    file = tmp_path / "mrag.toml"
    file.write_text("")
    config = Config.load(file)
    assert config.staging.uri == str(tmp_path / ".mrag/staging")
    assert config.milvus.uri == str(tmp_path / ".mrag/index.db")


@pytest.mark.parametrize(
    "uri", ["pydoc:", "pydoc:gzip,csv", "s3://bucket/x", "file:///x/y", "/abs/x.jsonl"]
)
def test_uris_and_absolute_paths_stay(uri: str) -> None:
    """Only relative paths are resolved."""
    assert Config.parse({"corpus": {"uri": uri}}).corpus.uri == uri


@pytest.mark.parametrize("model", ["sentence-transformers/all-MiniLM-L6-v2", "package:x"])
def test_a_hub_id_is_not_a_path(model: str) -> None:
    """Unless a folder of that name exists."""
    assert Config.parse({"encoder": {"model": model}}).encoder.model == model


def test_a_rerankers_model_is_a_path_only_without_a_url(tmp_path: Path) -> None:
    """With one it is the model's name at the endpoint, even where a folder has the same name."""
    (tmp_path / "model").mkdir()
    local = Config.parse({"rerank": {"model": "model"}}, tmp_path)
    assert local.rerank.model == str(tmp_path / "model")
    named = {"rerank": {"model": "model", "url": "http://127.0.0.1:8080"}}
    assert Config.parse(named, tmp_path).rerank.model == "model"


def test_an_address_that_is_no_uri_is_refused() -> None:
    """By its key, with our error."""
    with pytest.raises(ConfigError, match=r"^rerank\.url = "):
        Config.parse({"rerank": {"url": "http://[::"}})


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` as in a shell."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Config.parse({"corpus": {"uri": "~/x.jsonl"}}).corpus.uri == "/home/somebody/x.jsonl"


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """Setting by setting: the other keys of the file's section stay."""
    file = tmp_path / "c.toml"
    file.write_text("[chunking]\nmax_tokens = 64\noverlap_tokens = 8\n")
    config = Config.load(file, setting("chunking.max_tokens=32"))
    assert (config.chunking.max_tokens, config.chunking.overlap_tokens) == (32, 8)


def test_a_model_on_the_command_line_drops_the_files_revision(tmp_path: Path) -> None:
    """The revision belongs to the file's model."""
    file = tmp_path / "mrag.toml"
    file.write_text(template())
    config = Config.load(file, setting("encoder.model=package:x"))
    assert (config.encoder.model, config.encoder.revision) == ("package:x", "")
    both = merged(setting("encoder.model=a/b"), setting("encoder.revision=" + "0" * 40))
    assert Config.load(file, both).encoder.revision == "0" * 40


def test_the_default_model_comes_with_its_revision() -> None:
    """Setting other keys of [encoder] keeps it."""
    config = Config.parse({"encoder": {"query_prefix": "query: "}})
    assert config.encoder.revision == Config().encoder.revision
    assert len(config.encoder.revision) == 40


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("workers.count=4", {"workers": {"count": 4}}),
        ("sharding.shard_mb=0.5", {"sharding": {"shard_mb": 0.5}}),
        ("index=docs", {"index": "docs"}),
        ('index="docs"', {"index": "docs"}),
        ("encoder.layers=[-1, -2]", {"encoder": {"layers": [-1, -2]}}),
        ("corpus.id_field=a=b", {"corpus": {"id_field": "a=b"}}),
        ("corpus.id_field=", {"corpus": {"id_field": ""}}),
    ],
)
def test_a_setting_is_toml_or_else_a_string(assignment: str, expected: dict[str, Any]) -> None:
    """So a word needs no quotes inside the shell's quotes."""
    assert setting(assignment) == expected


@pytest.mark.parametrize("assignment", ["workers.count", "=4", " = 4", "a..b=1", ".=1"])
def test_an_invalid_setting_is_refused(assignment: str) -> None:
    """The error shows an example of --set."""
    with pytest.raises(ConfigError, match="--set"):
        setting(assignment)


def test_a_setting_cannot_contain_a_second_one() -> None:
    """A value with a line break is a string, not more TOML."""
    assert setting("index=1\nevil = 2") == {"index": "1\nevil = 2"}


@pytest.mark.parametrize("content", [b"index = ", b"\xff\xfe", b"[a\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names its path."""
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        Config.load(file)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """The error names the command that writes one."""
    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path / "c.toml")
    assert "mrag init" in caught.value.fix


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    """It raises our error, not the operating system's."""
    with pytest.raises(ConfigError):
        Config.load(tmp_path)


def test_a_resolved_config_is_read_back_unchanged(tmp_path: Path) -> None:
    """A worker's process gets the config that the build has stored."""
    config = Config.parse({"corpus": {"uri": "x.jsonl"}, "encoder": {"layers": [-2, -1]}}, tmp_path)
    assert Config.parse(config.to_dict()) == config


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_index_of_16_bits_holds_what_is_staged(dtype: str) -> None:
    """Vectors are rounded once, in staging; any staged type may be loaded as float32."""
    both = Config.parse({"milvus": {"vector_dtype": dtype}, "staging": {"vector_dtype": dtype}})
    assert both.milvus.vector_dtype == both.staging.vector_dtype == dtype
    Config.parse({"staging": {"vector_dtype": dtype}})
    for staged in {"float32", "float16", "bfloat16"} - {dtype}:
        with pytest.raises(ConfigError, match=r"milvus\.vector_dtype") as caught:
            Config.parse({"milvus": {"vector_dtype": dtype}, "staging": {"vector_dtype": staged}})
        assert f"staging.vector_dtype = '{dtype}'" in caught.value.fix


def test_int8_is_not_asked_of_a_gpu() -> None:
    """A driver without one would plan, and each worker would refuse."""
    workers = {"device": "cuda", "address": "auto"}
    with pytest.raises(ConfigError, match=r"'int8' and workers\.device = 'cuda'") as caught:
        Config.parse({"encoder": {"dtype": "int8"}, "workers": workers})
    assert "workers.device = 'cpu'" in caught.value.fix


@pytest.mark.parametrize(
    ("settings", "found", "expected"),
    [
        ({"strategy": "adaptve"}, "retrieve.strategy = 'adaptve'", "one of adaptive"),
        ({"strategy": "fusion"}, "retrieve.strategy = 'fusion'", "the query alone"),
        ({"vote": {"decay": 0.5}}, "retrieve.vote.decay = 0.5", "one of constant"),
        ({"strategy": "mrag", "vote": {"power": 2}}, "retrieve.vote.power = 2", "one of decay"),
        (
            {"voters": {"heads": 0, "standard": 0, "lexical": 0}},
            "no voter of the strategy adaptive",
            "a share for one of",
        ),
        ({"strategy": "split", "voters": {"heads": 1}}, "shares of voters", "none"),
        ({"windows": {"part_words": 3}}, "retrieve.windows.min_part_words = 4", "at most"),
    ],
)
def test_settings_of_a_query_that_contradict_each_other_are_refused(
    settings: dict[str, Any], found: str, expected: str
) -> None:
    """When the config is read, not at the first query."""
    with pytest.raises(ConfigError) as caught:
        Config.parse({"retrieve": settings})
    assert caught.value.found.startswith(found)
    assert expected in caught.value.expected


def test_a_gate_with_an_unknown_strategy_is_refused() -> None:
    """Before hours of embedding, not after."""
    with pytest.raises(ConfigError, match=r"gate\.strategy = 'aspct'") as caught:
        Config.parse({"gate": {"strategy": "aspct"}})
    assert caught.value.fix == "did you mean `aspect`?"


def test_the_settings_of_queries_are_no_part_of_a_version() -> None:
    """The request that names a version differs in nothing but the config that is kept with it."""
    plain = Config.parse({"corpus": {"uri": "/docs.jsonl"}})
    retrieve = {"strategy": "hybrid", "k": 3, "windows": {"span_words": 8}, "voters": {"heads": 2}}
    changed = Config.parse({"corpus": {"uri": "/docs.jsonl"}, "retrieve": retrieve})
    assert changed.retrieve != plain.retrieve
    requests = [dataclasses.asdict(wiring.request(config)) for config in (plain, changed)]
    kept = [request.pop("config") for request in requests]
    assert requests[0] == requests[1]
    assert kept[0] != kept[1]


def test_a_config_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    file = tmp_path / "mrag.toml"
    file.write_text('\ufeffindex = "wiki"\n', "utf-8")
    assert Config.load(file).index == "wiki"


def test_a_config_of_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    """Before any of its keys is looked at."""
    file = tmp_path / "mrag.toml"
    file.write_text('format = 1\nindex = "one"\n')
    assert Config.load(file).index == "one"
    file.write_text('format = 2\nanother_key = "one"\n')
    with pytest.raises(NewerFormat, match=r"mrag\.toml has format 2: a newer mrag wrote it"):
        Config.load(file)


@pytest.mark.parametrize("number", ["0", "true", '"1"', "1.0"])
def test_a_format_that_is_no_number_is_a_wrong_value(number: str, tmp_path: Path) -> None:
    """As any other value."""
    (tmp_path / "mrag.toml").write_text(f"format = {number}\n")
    with pytest.raises(ConfigError, match="format = "):
        Config.load(tmp_path / "mrag.toml")
