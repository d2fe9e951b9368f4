"""The owner of a run, and whether its process has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mrag_pipeline.locking.owner import Owner

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_an_owner_is_named_with_its_age() -> None:
    """The text has process, host, start and age in seconds."""
    owner = Owner(7, "a", "2026-01-02T03:04:05+00:00")
    now = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)
    assert owner.told(now) == "process 7 on a, since 2026-01-02T03:04:05+00:00 (60 s ago)"


def test_an_owner_whose_clock_runs_ahead_has_age_0() -> None:
    """Never a negative age."""
    owner = Owner(7, "a", "2099-01-01T00:00:00+00:00")
    assert owner.told(datetime(2026, 1, 1, tzinfo=UTC)).endswith("(0 s ago)")


def test_an_owners_facts_are_read_back_equal() -> None:
    """Through JSON and back."""
    owner = Owner.here()
    assert Owner.of(owner.facts()) == owner


@linux
def test_a_process_that_has_ended_is_gone() -> None:
    """A running process is not gone."""
    code = """
import json
from mrag_pipeline.locking.owner import Owner
print(json.dumps(Owner.here().facts()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert Owner.of(json.loads(ended.stdout)).is_gone()
    assert not Owner.here().is_gone()


@linux
def test_a_process_number_used_again_is_not_the_owner() -> None:
    """The process start time tells them apart."""
    mine = Owner.here()
    assert replace(mine, birth=mine.birth + "0").is_gone()


@pytest.mark.parametrize("birth", ["", "another-kernel/1/2", "x"])
def test_an_owner_that_cannot_be_checked_is_not_gone(birth: str) -> None:
    """Another host's or another container's process, or one of a system without /proc."""
    assert not Owner(2**22 + 1, "elsewhere", "2026-01-01T00:00:00+00:00", birth).is_gone()
