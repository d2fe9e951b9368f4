"""A pipeline of words in one JSON file: `toy_pipeline.py whole|careless ingest FOLDER | search K`.

`whole` writes its index by one rename. `careless` adds to it, never deletes, and writes it in place
while it goes on.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

INDEX = Path("index.json")


def index() -> list[tuple[str, str]]:
    return json.loads(INDEX.read_text()) if INDEX.exists() else []


def ingest(folder: Path, careless: bool) -> None:
    rows = index() if careless else []
    for path in sorted(folder.iterdir()):
        sum(range(800_000))  # work, so that a kill comes in the middle
        rows.append((path.name, path.read_text("utf-8", errors="replace")))
        if careless:
            INDEX.write_text(json.dumps(rows))
    new = INDEX.with_suffix(".new")
    new.write_text(json.dumps(rows))
    os.replace(new, INDEX)


def main() -> None:
    kind, verb, argument = sys.argv[1:]
    if verb == "ingest":
        ingest(Path(argument), kind == "careless")
        return
    for line in sys.stdin:
        asked = set(line.lower().split())
        rows = sorted(index(), key=lambda row: -len(asked & set(row[1].lower().split())))
        print(json.dumps([name for name, _ in rows[: int(argument)]]), flush=True)


main()
