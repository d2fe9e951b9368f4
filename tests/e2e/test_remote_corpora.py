"""A file of the web and a data set of the hub: ingested by the command, found, and synced."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.hub_server import Hub, served_hub
from tests.support.loopback_server import LoopbackServer
from tests.support.project_folder import Mrag
from tests.support.web_site import Site

pytestmark = pytest.mark.timeout(600)

FACTS = {
    "dog": "A shaggy herding dog guards the sheep.",
    "star": "A cool giant star is rich in carbon.",
}
LATER = FACTS | {"flute": "A flute is made of reed, wood or metal."}
OPTIONS = ("-s", "workers.pool=serial")


def lines(facts: dict[str, str]) -> bytes:
    """As JSON Lines."""
    return "".join(json.dumps({"id": k, "text": v}) + "\n" for k, v in facts.items()).encode()


@contextmanager
def web(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A URL of https, and what changes its file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    site = Site(files={"/facts.jsonl": lines(FACTS)})
    with LoopbackServer(site.handler, context) as server:
        url = server.endpoint.replace("127.0.0.1", "localhost") + "/facts.jsonl"
        yield url, lambda: site.files.update({"/facts.jsonl": lines(LATER)})


@contextmanager
def hub(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A URI of the hub, and what commits a change to it."""
    made = Hub("people/facts", [{"facts.jsonl": lines(FACTS)}])
    with served_hub(made, monkeypatch):
        yield (
            "hf://datasets/people/facts",
            lambda: made.commits.append({"facts.jsonl": lines(LATER)}),
        )


@pytest.mark.parametrize(
    "place",
    [pytest.param(web, id="https"), pytest.param(hub, id="hf", marks=pytest.mark.long)],
)
def test_it_is_ingested_and_synced(
    mrag: Mrag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[..., object]
) -> None:
    """By its URI alone; a sync brings what was added, and only that."""
    with place(monkeypatch, tmp_path) as (uri, change):  # type: ignore[attr-defined]
        corpus = ("-s", f"corpus.uri={uri}", *OPTIONS)
        ingested = mrag("ingest", *corpus, "--json")
        assert ingested.code == 0, ingested.err
        found = mrag("search", "which star has carbon", "-k", "1", "--json", *corpus)
        assert found.json()[0]["hits"][0]["document_id"] == "star", found.err
        change()
        synced = mrag("sync", *corpus, "--json")
        assert synced.code == 0, synced.err
        counts = synced.json()
        assert (counts["added"], counts["changed"], counts["removed"]) == (1, 0, 0), counts
        found = mrag("search", "what is an instrument of reed", "-k", "1", "--json", *corpus)
        assert found.json()[0]["hits"][0]["document_id"] == "flute", found.err
