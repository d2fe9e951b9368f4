"""The options that commands share: what a command receives, and what `--help` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from mrag_pipeline.cli.options import Corpus, SharedOptions, shared_options
from mrag_pipeline.errors import ConfigError

received: list[tuple[SharedOptions, str | None, int]] = []


def _app(*names: str) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @shared_options(*names)
    def command(
        shared: SharedOptions,
        corpus: Corpus = None,
        k: Annotated[int, typer.Option("-k")] = 8,
    ) -> None:
        """A command."""
        received.append((shared, corpus, k))

    return app


def _run(*arguments: str) -> tuple[SharedOptions, str | None, int]:
    done = CliRunner().invoke(_app(), list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return received.pop()


def test_a_command_receives_its_own_options_and_the_shared_ones() -> None:
    """The shared ones in one value, its own as parameters."""
    shared, corpus, k = _run("docs.jsonl", "-k", "3", "-c", "x.toml", "--json")
    assert (shared.config_file, shared.json) == (Path("x.toml"), True)
    assert (corpus, k) == ("docs.jsonl", 3)


def test_settings_are_nested_and_the_index_is_one_of_them() -> None:
    """Like the config file; a later --set wins."""
    shared, _, _ = _run("-s", "workers.count=1", "-s", "workers.count=2", "-i", "wiki")
    assert shared.settings == {"workers": {"count": 2}, "index": "wiki"}


def test_without_options_nothing_is_overridden() -> None:
    """Defaults as they are shown."""
    shared, corpus, k = _run()
    assert (shared, corpus, k) == (SharedOptions(None, {}, False), None, 8)


def test_a_wrong_setting_is_a_config_error() -> None:
    """As for every other wrong argument."""
    with pytest.raises(ConfigError, match="--set"):
        CliRunner().invoke(_app(), ["-s", "nonsense"], catch_exceptions=False)


def test_an_override_that_was_not_given_changes_nothing() -> None:
    """None means that the option was left out."""
    shared = SharedOptions(None, {"workers": {"count": 2}}, False)
    assert shared.override("workers", "address", None) is shared
    over = shared.override("workers", "address", "auto")
    assert over.settings == {"workers": {"count": 2, "address": "auto"}}
    assert shared.settings == {"workers": {"count": 2}}


def test_a_flow_gets_an_absolute_path() -> None:
    """A flow's run may be resumed from another folder."""
    path, settings = SharedOptions(Path("x.toml"), {"index": "wiki"}, False).for_flow()
    assert path == str(Path("x.toml").absolute())
    assert settings == {"index": "wiki"}
    assert SharedOptions(None, {}, False).for_flow() == (None, {})


def test_a_command_may_take_only_some_of_them() -> None:
    """`mrag keys` belongs to no index."""
    done = CliRunner().invoke(_app("config", "settings", "json"), ["--index", "wiki"])
    assert done.exit_code == 2
    assert "--index" in done.output
