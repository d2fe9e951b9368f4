"""How many connections one address may hold."""

from __future__ import annotations

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.address_limit import CONNECTIONS, VARIABLE, connections_per_address


@pytest.mark.parametrize(
    ("given", "connections"), [("", CONNECTIONS), ("50", 50), ("5000", 5000), ("0", None)]
)
def test_the_environment_says_how_many(
    given: str, connections: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 unless it does; 0 is no limit."""
    monkeypatch.setenv(VARIABLE, given)
    assert connections_per_address() == connections


@pytest.mark.parametrize("given", ["-1", "1.5", "many", "1 000", "²"])
def test_what_is_no_number_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming the variable."""
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(ConfigError, match=VARIABLE):
        connections_per_address()
