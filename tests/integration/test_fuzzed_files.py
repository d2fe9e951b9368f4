"""A short run of the fuzzer over every reader; `make fuzz` runs it for an hour."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.check import check
from tests.fuzz.mutations import DOCUMENTS, SUFFIXES, mutated


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_bytes_are_documents_or_dead_letters(tmp_path: Path, suffix: str) -> None:
    """No exception, no hang, nothing lost, the same items wherever the file is cut."""
    for seed in range(3 if suffix in DOCUMENTS else 25):  # these take a process each
        chance = random.Random(f"{suffix}{seed}")
        path = tmp_path / f"f{suffix}"
        path.write_bytes(mutated(chance, suffix))
        check(path, chance.randrange(1, 200))
