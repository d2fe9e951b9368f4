"""What a round draws, from the seed and its number alone: its kind, and in which order it kills."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from killing import victims

if TYPE_CHECKING:
    from killing.stands import Kind

# Of the phases on workers, what share is hit.
_ENDING, _SURVIVED = 0.9, 0.9


def chance_of(seed: int, number: int) -> random.Random:
    """What a round draws from."""
    return random.Random(f"{seed}-{number}")


def kind_of(kinds: Sequence[Kind], seed: int, number: int) -> Kind:
    """The kind of a round: each is in a deck as often as it says; a deck is dealt, then the next.

    So a short run has its share of each kind, too.
    """
    cards = [kind for kind in kinds for _ in range(kind.in_deck)]
    turn, place = divmod(number, len(cards))
    random.Random(f"{seed}-deck-{turn}").shuffle(cards)
    return cards[place]


def phases_for(victim: str, phases: Iterable[str], is_shared: bool) -> list[str]:
    """Those of a command's phases in which the victim can be killed; all if it is in none."""
    names = list(phases)
    if victim not in victims.ON_RAY:
        return names
    with_ray = victims.RAY_PHASES if is_shared else victims.ON_LITE
    return [name for name in names if name in with_ray] or names


@dataclass(frozen=True, slots=True)
class Strike:
    """A kill that is aimed at a phase."""

    phase: str
    victim: str


def strikes_on(
    phases: Sequence[str],
    ending: Iterator[str],
    survived: Iterator[str],
    chance: random.Random,
) -> list[Strike]:
    """The kills of a command, in the order of its phases; it is run again after each that ends it.

    Every phase is as likely to be hit as any other, first by what ends the run, then by what it
    survives.

    Args:
        phases: in their order.
        ending: what ends the command, or may do so, in turn; survived: what it goes on without.
    """
    strikes = []
    for phase in phases:
        if chance.random() < _ENDING:
            strikes.append(Strike(phase, next(ending)))
        if chance.random() < _SURVIVED:
            strikes.append(Strike(phase, next(survived)))
    return strikes


def in_turn(weights: Mapping[str, int], chance: random.Random) -> Iterator[str]:
    """Names without end, in random order; each as often as its weight before all begin again."""
    names = [name for name, weight in weights.items() for _ in range(weight)]
    while True:
        chance.shuffle(names)
        yield from names
