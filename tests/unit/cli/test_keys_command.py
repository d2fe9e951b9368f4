from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mrag_pipeline.cli.keys import keys
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.security.keys import read_keys
from mrag_pipeline.settings.serve import ServeSpec


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _app() -> typer.Typer:
    app = typer.Typer()
    app.add_typer(keys, name="keys")
    return app


def test_a_new_key_is_the_secret_and_the_entry_and_nothing_else_on_standard_output() -> None:
    """Two lines that a script can read; the words for people go to standard error."""
    done = CliRunner().invoke(_app(), ["keys", "new", "web", "--tenant", "acme", "--expires", "9d"])
    assert done.exit_code == 0
    secret, entry = done.stdout.splitlines()
    found = read_keys(ServeSpec(), {"MRAG_API_KEYS": entry}).find(secret)
    assert found is not None
    assert (found.name, found.tenant) == ("web", "acme")
    assert found.expires is not None
    assert secret not in done.stderr
    assert "MRAG_API_KEYS" in done.stderr


def test_the_entry_alone_can_go_into_the_environment() -> None:
    """The secret is still shown, to people."""
    done = CliRunner().invoke(_app(), ["keys", "new", "web", "--entry"])
    (secret,) = [line for line in done.stderr.splitlines() if line.startswith("mrag_")]
    assert read_keys(ServeSpec(), {"MRAG_API_KEYS": done.stdout}).find(secret)


def test_a_new_key_as_json_names_the_configured_variable() -> None:
    """What a secret store is filled from."""
    arguments = ["keys", "new", "web", "--json", "-s", "serve.keys_env=OTHER"]
    told = json.loads(CliRunner().invoke(_app(), arguments).stdout)
    assert told["variable"] == "OTHER"
    assert read_keys(ServeSpec(keys_env="OTHER"), {"OTHER": told["entry"]}).find(told["secret"])


def test_nothing_is_written_anywhere(tmp_path: Path) -> None:
    """The secret is shown once and stored nowhere."""
    assert CliRunner().invoke(_app(), ["keys", "new", "web"]).exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("expires", ["0d", "-1d", "soon", "2001-01-01", "d", "99999999999d"])
def test_an_expiry_must_be_a_time_to_come(expires: str) -> None:
    """A key that never worked would be found out too late."""
    done = CliRunner().invoke(_app(), ["keys", "new", "web", f"--expires={expires}"])
    assert isinstance(done.exception, ConfigError)
    assert done.stdout == ""
