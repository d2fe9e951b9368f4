"""The reference of the documentation site: nothing is left out, and everything has a meaning."""

from __future__ import annotations

import pytest
import typer

from docs.site.reference import cli, configuration, errors, formats, http, metrics
from mrag_pipeline.config import Config
from mrag_pipeline.errors import MragError
from mrag_pipeline.serving.http.problem_table import TABLE

CONFIGURATION = configuration.page()
KEYS = {key.name: key for key in configuration.keys()}  # noqa: SIM118  # no mapping


def rows(page: str) -> dict[str, list[str]]:
    """The cells of every table's rows, by what is in the first one."""
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return {row[0].strip("`"): row for row in cells}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_has_a_row_with_type_default_and_meaning(key: str) -> None:
    """A key without a comment in template.toml or beside its field has no meaning here."""
    _, kind, default, meaning = rows(CONFIGURATION)[key]
    assert kind
    assert default
    assert len(meaning) > 5


def test_the_keys_are_those_that_a_config_file_may_have() -> None:
    """Each of them with its own default is a config: the default one."""
    assert {name.partition(".")[0] for name in KEYS} == set(Config.model_fields)
    assert KEYS["chunking.max_tokens"].default == "`128`"
    assert KEYS["retrieve.windows.part_words"].default == "`13`"
    assert KEYS["retrieve.vote.decay"].default == "the strategy's own"
    assert KEYS["workers.phase_workers"].default == "left out"


def test_bounds_are_told_with_the_type() -> None:
    """As a reader of TOML would say them."""
    assert KEYS["gate.max_fall"].type == "number, at least 0, at most 1"
    assert KEYS["milvus.consistency"].type == '`"Strong"` or `"Bounded"` or `"Eventually"`'
    assert KEYS["retrieve.vote.decay"].type == "number, above 0, at most 1"


def unescaped(cell: str) -> str:
    """A cell as a reader sees it."""
    return cell.replace("\\|", "|").strip()


COMMANDS = dict(cli.commands())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_explained_with_an_example(name: str) -> None:
    """What it does, how it is called, and each of its options."""
    section = cli.page().split(f"\n## mrag {name}\n")[1].split("\n## ")[0]
    assert f"$ mrag {name}" in section
    shown = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    for parameter in COMMANDS[name].params:
        is_argument = parameter.param_type_name == "argument"
        own = parameter.metavar or parameter.name.upper() if is_argument else parameter.opts[0]
        [meaning] = [row[3] for row in shown if f"`{own}`" in unescaped(row[0]).split(", ")]
        assert len(meaning) > 10, own


def test_the_commands_are_all_of_them() -> None:
    """Those of groups with their group's name."""
    assert {"ingest", "search", "serve", "keys new", "models check", "deadletters list"} <= set(
        COMMANDS
    )
    assert not any(isinstance(command, typer.Typer) for command in COMMANDS.values())


def test_every_route_and_schema_has_a_section() -> None:
    """As the service's own OpenAPI document has them."""
    page, document = http.page(), http.openapi()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"### {method.upper()} {path}\n" in page
    for name in document["components"]["schemas"]:
        assert f"### {name}\n" in page


def test_every_error_is_listed_with_its_exit_code() -> None:
    """And no exit code is without a meaning: the page would not be made."""
    listed = rows(errors.page())
    for kind in errors.kinds():
        assert listed[kind.__name__][2] == str(kind.exit_code)
    assert listed["9"][2] == "worse than the live version"
    assert MragError in errors.kinds()
    assert {str(row.status) for row in TABLE.values()} - set(listed) == {"499"}


def test_every_metric_has_a_meaning() -> None:
    """Names as Prometheus has them, with their labels."""
    found = {name: (text, labels) for name, _, text, labels in metrics.metrics()}
    assert found["mrag_requests_total"][1] == "`method`, `route`, `status`"
    assert all(text for text, _ in found.values())


def test_every_column_of_staging_has_a_meaning() -> None:
    """A new column stops the page until it is explained."""
    page = formats.page()
    assert "| `chunk_id` | `int64` | identifies the chunk" in page
    assert "| `unit_sum` | `list<item: double>` |" in page
    for name, _, _ in formats.FILES:
        assert f"## {name}\n" in page
