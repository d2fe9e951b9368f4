"""Readers of a service that is killed: what they are told, compared with undisturbed answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx

from tests.support.callers import Callers
from tests.support.project_folder import a_text

QUESTIONS = tuple(
    f"{a_text(i).split('. ')[0]}. {a_text(i + 11).split('. ')[0]}." for i in range(3, 36, 4)
)
# What a caller may be told while a part is away: refused or cut off, no place, no answer in time.
EXCUSED = frozenset({0, 408, 429, 503, 504})
_PAUSE_S = 0.05

Answers = dict[str, list[str]]  # a question's documents


def asked(url: str, question: str, client: httpx.Client) -> tuple[int, list[str], str]:
    """The status (0: no answer), the documents found, and what else was said."""
    try:
        answered = client.post(f"{url}/v1/search", json={"query": question, "k": 5})
    except httpx.HTTPError as error:
        return 0, [], f"{type(error).__name__}: {error}"
    if answered.status_code != 200:
        return answered.status_code, [], answered.text[:500]
    return 200, [hit["document_id"] for hit in answered.json()["hits"]], ""


@dataclass
class Readers(Callers):
    """Callers who ask without end."""

    url: str
    expected: Answers
    faults: list[str] = field(default_factory=list)
    answered_at: float = 0.0  # when the last right answer had been asked for

    def until_answered(self, seconds: float) -> float | None:
        """Seconds until a question that was asked from now on is answered; None if none is."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            if self.answered_at > began:
                return time.monotonic() - began
            time.sleep(0.02)
        return None

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._stop.is_set():
                question = QUESTIONS[number % len(QUESTIONS)]
                number += 1
                began = time.monotonic()
                status, documents, told = asked(self.url, question, client)
                self.statuses[status] += 1
                if status == 200 and documents != self.expected[question]:
                    self.faults.append(f"answered {documents} for {self.expected[question]}")
                elif status == 200:
                    self.answered_at = max(self.answered_at, began)
                elif status not in EXCUSED:
                    self.faults.append(f"answered {status}: {told}")
                time.sleep(_PAUSE_S)
