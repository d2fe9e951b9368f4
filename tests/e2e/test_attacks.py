"""What attacks on one key do to another key's questions, at a service with a real encoder.

The figures of docs are of `python benchmarks/attacks.py`, on a machine that does nothing else. Here
each attack stands between two measurements without it, so that other programs are in all of them.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec

ROOT = Path(__file__).parents[2]

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import attacks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

CHUNKS, SECONDS, ROUNDS = 1_000, 6.0, 3
AT_MOST = 3.0


def told(rounds: list[attacks.Round]) -> str:
    """The figures of the rounds."""
    return "\n".join(
        f"{one.attack}: p95 {one.p95_alone():.0f} ms alone, {one.p95():.0f} ms attacked "
        f"({one.factor():.2f} times), {len(one.before) + len(one.after)} answers alone, "
        f"{len(one.under)} attacked, {one.num_failed()} failed; "
        f"the attacker got {dict(one.seen)}"
        for one in rounds
    )


def test_others_wait_three_times_as_long_at_most(
    minilm: EncoderSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At p95, by the median of the rounds; and each of their questions is answered."""
    monkeypatch.chdir(ROOT)  # the service is started from here
    rounds = list(attacks.measured(tmp_path, CHUNKS, SECONDS, ROUNDS, tuple(attacks.ATTACKS)))
    with capsys.disabled():
        print(f"\n{told(rounds)}")
    assert sum(one.num_failed() for one in rounds) == 0, told(rounds)
    assert all(one.seen for one in rounds), told(rounds)  # each attack was one
    medians = {name: statistics.median(values) for name, values in attacks.factors(rounds).items()}
    over = {name: round(median, 2) for name, median in medians.items() if median > AT_MOST}
    assert over == {}, told(rounds)
