"""Fuzzes the readers for so many CPU seconds: `python -m tests.fuzz 3600 [seed [.pdf .docx]]`.

Prints the seed of each failure and keeps its file; exits 1 if there was one.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.check import check
from tests.fuzz.mutations import SUFFIXES, mutated

_TOLD_EVERY_S = 300


def cpu_s() -> float:
    """CPU seconds of this process and of the extraction processes that have ended."""
    own, ended = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def main(limit_s: float, seed: int, *suffixes: str) -> int:
    """Runs until the limit; returns the exit code."""
    counts: Counter[str] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    told_s = _TOLD_EVERY_S
    while cpu_s() < limit_s:
        if cpu_s() > told_s:
            print(f"{cpu_s():.0f} CPU seconds: {dict(sorted(counts.items()))}", flush=True)
            told_s += _TOLD_EVERY_S
        seed += 1
        chance = random.Random(seed)
        suffix = chance.choice(suffixes or SUFFIXES)
        path = folder / f"f{suffix}"
        path.write_bytes(mutated(chance, suffix))
        try:
            documents, dead = check(path, chance.randrange(1, 200))
        except Exception:
            kept = folder / f"failed-{seed}{suffix}"
            kept.write_bytes(path.read_bytes())
            counts["failures"] += 1
            print(f"seed {seed}: {kept}\n{traceback.format_exc()}", flush=True)
        else:
            counts.update({f"files {suffix}": 1, "documents": documents, "dead letters": dead})
        path.unlink()
    print(f"{cpu_s():.0f} CPU seconds: {dict(sorted(counts.items()))}")
    return 1 if counts["failures"] else 0


if __name__ == "__main__":
    limit, start, *chosen = [*sys.argv[1:], "0"] if len(sys.argv) == 2 else sys.argv[1:]
    sys.exit(main(float(limit), int(start), *chosen))
