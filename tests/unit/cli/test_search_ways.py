"""Which service `mrag search` asks, and what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from mrag_pipeline import client as clients
from mrag_pipeline.cli.search_ways import Wanted, asks_service, find_service
from mrag_pipeline.client import ServiceUnreachable
from mrag_pipeline.config import Config
from mrag_pipeline.wiring import at_work


class _Client:
    """Keeps what it was asked."""

    def __init__(self, url: str = "", index: str = "docs", **_: object) -> None:
        self.url, self._index = url, index
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.is_closed = False

    def search(self, query: str, **options: Any) -> str:
        self.asked.append((query, options))
        return f"answer {len(self.asked)}"

    def index(self) -> Any:
        if self.url.endswith("dead"):
            raise ServiceUnreachable("no answer")
        return type("State", (), {"index": self._index})

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


NOTHING = Wanted(None, "", (), (), {}, None, None, None)


def _asked(wanted: Wanted) -> list[tuple[str, dict[str, Any]]]:
    client: Any = _Client()
    asks_service(client, wanted)("bees")
    return list(client.asked)


def test_what_is_not_given_is_left_to_the_service() -> None:
    """It has settings of its own."""
    assert _asked(NOTHING) == [("bees", {})]


def test_every_option_is_passed_on_and_compared_strategies_get_their_own_windows() -> None:
    """As `mrag search` does in its own process."""
    filter_ = {"field": "document_id", "op": "eq", "value": "a"}
    wanted = Wanted(3, "aspect", (), ("a", "b"), {"heads": 2.0}, filter_, 0.1, False, "standard")
    shared = {"k": 3, "filter": filter_, "min_score": 0.1, "rerank": False}
    assert _asked(wanted) == [
        ("bees", {**shared, "strategy": "standard"}),
        (
            "bees",
            {**shared, "strategy": "aspect", "windows": ["a", "b"], "voters": {"heads": 2.0}},
        ),
    ]


@pytest.mark.parametrize(
    ("url", "served", "is_found"),
    [
        ("", "docs", False),
        ("http://alive", "docs", True),
        ("http://alive", "another", False),  # the port was taken by another service
        ("http://dead", "docs", False),
    ],
)
def test_a_service_is_asked_only_if_it_answers_for_this_index(
    url: str, served: str, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise this process searches."""
    monkeypatch.setattr(at_work, "running_service", lambda _: url)
    monkeypatch.setattr(clients, "Client", lambda url, **_: _Client(url, served))
    found: Any = find_service(Config())
    assert (found is not None) == is_found
    assert found is None or not found.is_closed
