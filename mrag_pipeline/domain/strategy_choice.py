"""The strategy that answers a query: a row of `strategies`, as query and settings change it.

What the query says comes first, then `[retrieve]` of the config, then the strategy's own row.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

from mrag_pipeline.domain.strategies import Strategy, VoterKind, strategy
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.retrieve import RetrieveSpec, VoteConstants

WEIGHTED: tuple[VoterKind, ...] = ("heads", "standard", "lexical")  # kinds whose share can be set


def choose_strategy(name: str, shares: Mapping[str, float], spec: RetrieveSpec) -> Strategy:
    """The strategy of that name, with a query's own shares of the voters.

    `[retrieve.vote]` and `[retrieve.voters]` belong to the strategy that `retrieve.strategy`
    names; another one is what its row says, so that comparisons compare with the real thing.

    Args:
        name: "": the one that `retrieve.strategy` names.
        shares: by kind of voter, only their ratios matter; a kind that is left out keeps its own,
            one with 0 is not searched, and one that the strategy has not is added.
    Raises: ConfigError for an unknown name or voter, a wrong share, a constant that the vote has
        no use for, or no voter left.
    """
    option = strategy(name or spec.strategy)
    if option.name != spec.strategy:
        return _with_shares(option, shares)
    configured = dataclasses.asdict(spec.voters)
    wanted = {kind: share for kind, share in configured.items() if share is not None}
    return _with_shares(_with_constants(option, spec.vote), {**wanted, **shares})


def _with_constants(option: Strategy, constants: VoteConstants) -> Strategy:
    given: dict[str, Any] = {
        name: value for name, value in dataclasses.asdict(constants).items() if value is not None
    }
    used = _constants_of(option)
    for name, value in given.items():
        if name not in used:
            raise ConfigError(
                f"retrieve.vote.{name} = {value:g}, which the vote of {option.name} does not use",
                f"one of {', '.join(used)}" if used else "no constants: it has none",
                f"remove retrieve.vote.{name}, or choose another retrieve.strategy",
            )
    caution = given.pop("caution", None)
    if caution is not None and option.vote.gate is not None:
        given["gate"] = dataclasses.replace(option.vote.gate, caution=caution)
    return dataclasses.replace(option, vote=dataclasses.replace(option.vote, **given))


def _constants_of(option: Strategy) -> tuple[str, ...]:
    """The constants of `[retrieve.vote]` that change what the strategy finds."""
    used = {"rank": ("decay",), "reciprocal": ("constant",), "distance": ()}[option.vote.rule]
    if option.windows in ("aspects", "question"):
        used += ("power", "coverage")
    if option.windows == "question":
        used += ("score_power", "caution")
    return used


def _with_shares(option: Strategy, shares: Mapping[str, float]) -> Strategy:
    for kind, share in shares.items():
        _check_share(kind, share)
    if not shares:
        return option
    if "pieces" in option.voters:
        raise ConfigError(
            f"shares of voters for the strategy {option.name}",
            "none: it searches pieces of the standard vector, which count the same",
            "leave them out, or use another strategy",
        )
    merged = {**_own_shares(option), **shares}
    voters = tuple(kind for kind in WEIGHTED if merged.get(kind, 0.0) > 0.0)
    if not voters:
        raise ConfigError(
            f"no voter of the strategy {option.name} has a share above 0",
            f"a share for one of {', '.join(WEIGHTED)}",
            "raise one of them in [retrieve.voters] or in the query",
        )
    # The others' weights are shares of all heads' (`voting.VoteSpec`).
    whole = merged["heads"] if "heads" in voters else 1.0
    vote = dataclasses.replace(
        option.vote,
        standard_weight=merged.get("standard", 0.0) / whole,
        lexical_weight=merged.get("lexical", 0.0) / whole,
    )
    return dataclasses.replace(option, voters=voters, vote=vote)


def _own_shares(option: Strategy) -> dict[str, float]:
    """The shares of the strategy's own row."""
    if len(option.voters) == 1:
        return {option.voters[0]: 1.0}  # alone, it has the whole vote whatever its weight
    weights = {
        "heads": 1.0,
        "standard": option.vote.standard_weight,
        "lexical": option.vote.lexical_weight,
    }
    return {kind: weights[kind] for kind in option.voters}


def _check_share(kind: str, share: float) -> None:
    if kind not in WEIGHTED:
        near = difflib.get_close_matches(kind, WEIGHTED, n=1)
        raise ConfigError(
            f"no voter {kind!r}",
            f"one of {', '.join(WEIGHTED)}",
            f"did you mean `{near[0]}`?" if near else "",
        )
    if not (math.isfinite(share) and share >= 0.0):
        raise ConfigError(
            f"a share of {share:g} for the voter {kind}",
            "0, with which it is not searched, or a finite number above",
        )
