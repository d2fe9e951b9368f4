"""Which strategy answers: the query's wish, then the settings, then the strategy's own row."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from mrag_pipeline.domain.strategies import DEFAULT, STRATEGIES
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.domain.vote_spec import Gate, VoteSpec
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.retrieve import RetrieveSpec, VoteConstants, VoterShares

TUNED = RetrieveSpec(
    strategy="aspect",
    vote=VoteConstants(power=3.0),
    voters=VoterShares(heads=2.0, standard=1.0, lexical=1.0),
)


@pytest.mark.parametrize("name", STRATEGIES)
def test_without_settings_a_strategy_is_its_row(name: str) -> None:
    """No setting has a default that overrides the strategy's own."""
    assert choose_strategy(name, {}, RetrieveSpec()) == STRATEGIES[name]


def test_no_name_is_the_configured_strategy() -> None:
    """And without a config the built-in one."""
    assert choose_strategy("", {}, RetrieveSpec(strategy="hybrid")).name == "hybrid"
    assert choose_strategy("", {}, RetrieveSpec()).name == DEFAULT


def test_a_named_strategy_comes_before_the_configured_one() -> None:
    """What a query says wins."""
    assert choose_strategy("mrag", {}, TUNED).name == "mrag"


def test_settings_change_the_configured_strategy() -> None:
    """Its constants and its voters, also where a query names it."""
    for name in ("", "aspect"):
        chosen = choose_strategy(name, {}, TUNED)
        assert chosen.vote.power == 3.0
        assert chosen.voters == ("heads", "standard", "lexical")
        assert (chosen.vote.standard_weight, chosen.vote.lexical_weight) == (0.5, 0.5)
        assert chosen.vote.coverage == STRATEGIES["aspect"].vote.coverage


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"aspect"}))
def test_settings_change_no_other_strategy(name: str) -> None:
    """A rival in a report stays the real thing."""
    assert choose_strategy(name, {}, TUNED) is STRATEGIES[name]


def test_a_querys_shares_come_before_the_settings() -> None:
    """Kind by kind: those that the query leaves out stay as configured."""
    chosen = choose_strategy("", {"lexical": 4.0, "standard": 0.0}, TUNED)
    assert chosen.voters == ("heads", "lexical")
    assert chosen.vote.lexical_weight == 2.0


def test_only_the_ratios_of_shares_matter() -> None:
    """Thirds are thirds, whatever they add up to."""
    thirds = [choose_strategy("", dict.fromkeys(KINDS, share), TUNED) for share in (1.0, 7.0)]
    assert thirds[0] == thirds[1]
    assert (thirds[0].vote.standard_weight, thirds[0].vote.lexical_weight) == (1.0, 1.0)


KINDS = ("heads", "standard", "lexical")


def test_a_share_of_nothing_takes_the_voter_away() -> None:
    """The others keep their ratio to each other."""
    shares = {"heads": 0.0, "standard": 2.0, "lexical": 1.0}
    chosen = choose_strategy("adaptive", shares, RetrieveSpec())
    assert chosen.voters == ("standard", "lexical")
    assert chosen.vote.lexical_weight == 0.5 * chosen.vote.standard_weight


def test_a_share_adds_a_voter() -> None:
    """One that votes alone counts as 1, whatever its row's weights say."""
    chosen = choose_strategy("standard", {"lexical": 0.25}, RetrieveSpec())
    assert chosen.voters == ("standard", "lexical")
    assert (chosen.vote.standard_weight, chosen.vote.lexical_weight) == (1.0, 0.25)


@pytest.mark.parametrize(
    ("name", "shares", "found", "hint"),
    [
        ("", {"head": 1.0}, "no voter 'head'", "did you mean `heads`?"),
        ("", {"bm25": 1.0}, "no voter 'bm25'", ""),
        ("", {"heads": -1.0}, "a share of -1", ""),
        ("", {"heads": float("nan")}, "a share of nan", ""),
        ("mrag", {"heads": 0.0}, "no voter of the strategy mrag", "raise one"),
        ("split", {"standard": 1.0}, "shares of voters for the strategy split", "leave them out"),
    ],
)
def test_wrong_shares_are_refused(
    name: str, shares: dict[str, float], found: str, hint: str
) -> None:
    """The error says what was found and what to do."""
    with pytest.raises(ConfigError) as caught:
        choose_strategy(name, shares, RetrieveSpec())
    assert caught.value.found.startswith(found)
    assert hint in caught.value.fix


def test_each_constant_of_the_settings_is_one_of_the_votes() -> None:
    """By the same name, or its gate's; the shares of the voters are set elsewhere."""
    constants = get_type_hints(VoteConstants)
    fields = (*dataclasses.fields(VoteSpec), *dataclasses.fields(Gate))
    assert constants.keys() <= {field.name for field in fields}
    assert not constants.keys() & {"standard_weight", "lexical_weight"}
