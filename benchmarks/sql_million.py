"""A table of a million rows, ingested from SQLite and from PostgreSQL, and a changed row synced.

    python benchmarks/sql_million.py [--rows 100000 1000000] [--databases sqlite postgresql]

Each size and database is measured by `scale_one.py` in a process of its own: all phases on two Ray
workers and a Milvus server, without the model. Memory is flat if the largest number of rows takes
no more of it than the smallest: the figures have both, and the ratio. PostgreSQL is the
distribution's package (`apt-get install postgresql`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import figure

from tests.support.postgres_server import postgres_server

FIGURES = Path(__file__).parent / "figures" / "sql_million.json"
COLUMNS = "id INTEGER PRIMARY KEY, title TEXT, text TEXT, updated_at TEXT"
CHANGE = (
    "UPDATE articles SET text = 'Another text.', updated_at = '2026-02-01T00:00:00+00:00' "
    "WHERE id = 17"
)
Row = tuple[int, str, str, str]


def rows(count: int) -> Iterator[Row]:
    """A sentence a row; every row was last changed in January."""
    for i in range(count):
        text = f"Row {i} tells of {i * 7919 % count} rivers and {i * 104729 % 997} lanterns."
        yield i, f"Title {i}", text, f"2026-01-{i % 28 + 1:02}T12:00:00+00:00"


@contextlib.contextmanager
def sqlite_table(count: int, folder: Path) -> Iterator[str]:
    """The URL of a database file with the table."""
    path = folder / "table.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TABLE articles ({COLUMNS})")
        database.executemany("INSERT INTO articles VALUES (?, ?, ?, ?)", rows(count))
        database.commit()
    yield f"sqlite:///{path}"


@contextlib.contextmanager
def postgresql_table(count: int, folder: Path) -> Iterator[str]:  # noqa: ARG001  # has its own
    """The URL of a server's database with the table."""
    import psycopg

    with postgres_server() as url:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute(f"CREATE TABLE articles ({COLUMNS})")
            with connection.cursor().copy("COPY articles FROM STDIN") as copy:
                for row in rows(count):
                    copy.write_row(row)
        yield url


TABLES: dict[str, Callable[[int, Path], contextlib.AbstractContextManager[str]]] = {
    "sqlite": sqlite_table,
    "postgresql": postgresql_table,
}


def main() -> None:
    """Prints the figures and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--databases", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for database in options.databases:
        runs = {count: measured(database, count) for count in sorted(options.rows)}
        for count, run in runs.items():
            figures |= {f"{database}, {count:,} rows, {k}": v for k, v in told(run).items()}
        figures |= {f"{database}, {k}": v for k, v in growth(list(runs.values())).items()}
    for name, entry in figures.items():
        print(f"{name}: {entry['value']} {entry['unit']}")
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def measured(database: str, count: int) -> dict[str, Any]:
    """What `scale_one.py` says of a table of that many rows."""
    print(f"{database}, {count:,} rows ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name, TABLES[database](count, Path(name)) as url:
        command = [
            *(sys.executable, str(Path(__file__).with_name("scale_one.py")), "--folder", name),
            *("--corpus", url, "--query", "articles", "--change", CHANGE),
            *("--heads", "2", "--dim", "16"),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{database}, {count:,} rows: the run failed; see its output above")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result["chunks"] != count or result["synced_chunks"] != 1:
        sys.exit(f"{result['chunks']} chunks and {result['synced_chunks']} synced of {count} rows")
    return result


def told(run: dict[str, Any]) -> dict[str, dict[str, float | str]]:
    """Seconds of the ingest and of the sync, and the peak memory of each process."""
    seconds = dict(run["seconds"])
    sync_s = seconds.pop("sync")
    return {
        "ingest": figure([sum(seconds.values())], "s", 1),
        "sync of a changed row": figure([sync_s], "s", 1),
        "worker": figure([peak(run, "worker", ["embed"])], "MB", 0),
        "driver in an ingest": figure([peak(run, "driver", seconds)], "MB", 0),
        "driver in a sync": figure([peak(run, "driver", ["sync"])], "MB", 0),
    }


def growth(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | str]]:
    """Peak memory at the most rows to that at the fewest, while the table is read."""
    least, most = runs[0], runs[-1]
    phases = ["plan", "embed"]
    return {
        f"{who} at most rows to fewest": figure(
            [peak(most, who, phases) / peak(least, who, phases)], "x", 2
        )
        for who in ("driver", "worker")
    }


def peak(run: dict[str, Any], who: str, phases: Iterable[str]) -> float:
    """The process's highest resident memory in these phases, in MB."""
    return max(float(run["memory_mb"].get(phase, {}).get(who, 0.0)) for phase in phases)


if __name__ == "__main__":
    main()
