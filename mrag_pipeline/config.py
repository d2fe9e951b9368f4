"""One typed config: the tables of `settings/` composed, read from TOML and checked.

Every setting has a default and a comment in the template. An unknown key is an error that
suggests the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from mrag_pipeline.config_keys import check_keys, wrong_value
from mrag_pipeline.config_tables import absolute, listed_corpora, without_pin, without_sources
from mrag_pipeline.domain import stored_format
from mrag_pipeline.domain.index_name import check_index_name
from mrag_pipeline.domain.prompt_template import check_template
from mrag_pipeline.domain.strategies import strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.gate import GateSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.notify import NotifySpec
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retire import RetireSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.settings.workers import WorkersSpec

DEFAULT_FILE = "mrag.toml"
# Of a config file, in its key `format`; none means 1.
FORMAT = 1
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
_SECRETS = ("password", "secret", "signature", "token")  # in the names of a URI's options


class Config(BaseModel):
    """The resolved settings of one index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: str = "docs"
    corpus: CorpusSpec = CorpusSpec(uri="")
    chunking: ChunkingSpec = ChunkingSpec()
    encoder: EncoderSpec = EncoderSpec(model=DEFAULT_MODEL, revision=DEFAULT_REVISION)
    sharding: ShardingSpec = ShardingSpec()
    workers: WorkersSpec = WorkersSpec()
    lexical: LexicalSpec = LexicalSpec()
    staging: StagingSpec = StagingSpec()
    milvus: MilvusSpec = MilvusSpec()
    ingest: IngestSpec = IngestSpec()
    sync: SyncSpec = SyncSpec()
    retrieve: RetrieveSpec = RetrieveSpec()
    gate: GateSpec = GateSpec()
    retire: RetireSpec = RetireSpec()
    notify: NotifySpec = NotifySpec()
    llm: LlmSpec = LlmSpec()
    rerank: RerankSpec = RerankSpec()
    serve: ServeSpec = ServeSpec()

    @classmethod
    def parse(cls, values: Mapping[str, Any], folder: Path | None = None) -> Config:
        """The config with these values; what they leave out gets its default.

        Args:
            values: as TOML gives them.
            folder: what relative local paths are relative to; the working folder if None.
        Raises: ConfigError for an unknown key (with the nearest known one) or a wrong value.
        """
        values = listed_corpora(values)
        check_keys(values, {name: field.annotation for name, field in cls.model_fields.items()})
        values = absolute(_with_defaults(values), folder or Path.cwd())
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            raise wrong_value(error) from None
        check_index_name(config.index)
        config._check_secrets()
        config._check_vectors()
        config._check_device()
        config._check_retrieve()
        check_template(config.llm.prompt, "llm.prompt")
        return config

    @classmethod
    def load(cls, path: Path | None, settings: Mapping[str, Any] | None = None) -> Config:
        """The config of a TOML file, overridden by settings that are nested like the file.

        Without a path: `mrag.toml` in the working folder if it exists, else the defaults.
        Raises: ConfigError.
        """
        if path is None and Path(DEFAULT_FILE).is_file():
            path = Path(DEFAULT_FILE)
        values: dict[str, Any] = {}
        folder = Path.cwd()
        if path is not None:
            values = _read(path)
            folder = path.resolve().parent
        # Paths on a command line are relative to the working folder, not to the file.
        overrides = absolute(listed_corpora(settings or {}), Path.cwd())
        values = without_sources(listed_corpora(values), overrides)
        return cls.parse(merged(without_pin(values, overrides), overrides), folder)

    def _check_secrets(self) -> None:
        for key, uri in (
            *(("corpus.uri", corpus.uri) for corpus in self.corpus.sources or (self.corpus,)),
            ("staging.uri", self.staging.uri),
            ("milvus.uri", self.milvus.uri),
            ("milvus.bulk_uri", self.milvus.bulk_uri),
            ("llm.url", self.llm.url),
            ("rerank.url", self.rerank.url),
        ):
            try:
                parts = urlsplit(uri)
            except ValueError as error:
                raise ConfigError(f"{key} = {uri!r}: {error}", "a URI") from None
            # A database's user is no secret: whose password is in the environment.
            is_user = key == "corpus.uri" and CorpusSpec(uri).is_database and not parts.password
            has_login = bool(parts.scheme) and "@" in parts.netloc and not is_user
            if has_login or any(word in parts.query.lower() for word in _SECRETS):
                raise ConfigError(
                    f"{key} contains credentials",
                    "a URI without them, as it is stored with every version",
                    "put credentials in the environment (AWS_ACCESS_KEY_ID, "
                    f"GOOGLE_APPLICATION_CREDENTIALS, {self.milvus.token_env})",
                )

    def _check_vectors(self) -> None:
        # Vectors are rounded once, before importance is summed from them: what is read back is
        # what was summed.
        stored, staged = self.milvus.vector_dtype, self.staging.vector_dtype
        if stored not in ("float32", staged):
            raise ConfigError(
                f"milvus.vector_dtype = {stored!r} and staging.vector_dtype = {staged!r}",
                "the same type in both, or milvus.vector_dtype = 'float32'",
                f"set staging.vector_dtype = {stored!r} too (this builds a new version)",
            )

    def _check_device(self) -> None:
        # Known before a driver has planned, which may have no GPU to find it out on.
        if self.encoder.dtype == "int8" and self.workers.device == "cuda":
            raise ConfigError(
                "encoder.dtype = 'int8' and workers.device = 'cuda'",
                "int8 on a CPU",
                "set workers.device = 'cpu', or another dtype (this builds a new version)",
            )

    def _check_retrieve(self) -> None:
        for key, name in (
            ("retrieve.strategy", self.retrieve.strategy),
            ("gate.strategy", self.gate.strategy or self.retrieve.strategy),
        ):
            try:
                option = strategy(name)
            except ConfigError as error:
                raise ConfigError(f"{key} = {name!r}", error.expected, error.fix) from None
            if option.windows == "sub-queries":
                raise ConfigError(
                    f"{key} = {name!r}, which needs sub-queries for every query",
                    "a strategy that needs the query alone, such as `adaptive`",
                    f"name {name} in the queries that come with sub-queries",
                )
        choose_strategy("", {}, self.retrieve)
        windows = self.retrieve.windows
        if windows.min_part_words > windows.part_words:
            raise ConfigError(
                f"retrieve.windows.min_part_words = {windows.min_part_words} and part_words = "
                f"{windows.part_words}",
                "min_part_words of at most part_words",
                "change either of them",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; secrets are not among them, only the variables that hold them."""
        return self.model_dump(mode="json")


def template() -> str:
    """The commented config file that `mrag init` writes: every key with its default."""
    return resources.files("mrag_pipeline").joinpath("template.toml").read_text("utf-8")


def setting(assignment: str) -> dict[str, Any]:
    """`section.key=value` as nested settings; the value is read as TOML, else as a string.

    Raises: ConfigError.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(
            f"--set {assignment!r}", "section.key=value, such as chunking.max_tokens=64"
        )
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if set(parsed) == {"value"} else text
    nested: dict[str, Any] = {}
    table = nested
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = value
    return nested


def _read(path: Path) -> dict[str, Any]:
    """The file's values, without its format number.

    Raises: ConfigError; NewerFormat.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))  # editors of Windows write a mark
    except FileNotFoundError:
        raise ConfigError(
            f"no config file at {path}", "a TOML file", "write one with `mrag init`"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", "a TOML file", "see what `mrag init` writes"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read the config file: {error}", "a TOML file") from None
    number = values.pop("format", stored_format.FIRST)
    try:
        stored_format.check(number, f"the config file {path}", FORMAT)
    except ValueError:
        raise ConfigError(
            f"{path} has format = {number!r}", f"a number from 1 to {FORMAT}", "leave the line out"
        ) from None
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the values of `over` in place of its own, table by table."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value)
        result[key] = value
    return result


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with defaults for keys that depend on other keys or on the folder."""
    filled = dict(values)
    for section, defaults in (
        ("corpus", {"uri": ""}),
        # A revision belongs to its model: the default one does not apply to another model.
        ("encoder", {"model": DEFAULT_MODEL, "revision": DEFAULT_REVISION}),
        ("staging", {"uri": StagingSpec().uri}),
        ("milvus", {"uri": MilvusSpec().uri}),
    ):
        table = values.get(section, {})
        if isinstance(table, Mapping) and not ("model" in defaults and "model" in table):
            filled[section] = {**defaults, **table}
    return filled
