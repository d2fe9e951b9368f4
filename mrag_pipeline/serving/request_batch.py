"""The questions of several requests as one batch, whose answers go back to their requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrag_pipeline.errors import MragError
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.question import Question


@dataclass(frozen=True, slots=True, eq=False)
class LiveRequest:
    """One request's questions, which are answered from one version or not at all."""

    questions: tuple[Question, ...]
    mark: str  # mark_of the encoder that embedded them
    deadline: float  # on the clock of the process that searches


class RequestBatch:
    """Requests in order: each has its answers, or an error in place of all of them."""

    def __init__(self) -> None:
        """Has no request."""
        self.outcomes: list[list[Answer] | MragError] = []  # of each request
        self.questions: list[Question] = []  # of those that were taken
        self._rows: list[int] = []  # the request of each question

    def refuse(self, error: MragError) -> None:
        """Adds a request that is not searched."""
        self.outcomes.append(error)

    def take(self, questions: Sequence[Question]) -> None:
        """Adds a request with these questions."""
        self._rows += [len(self.outcomes)] * len(questions)
        self.outcomes.append([])
        self.questions += questions

    def fail(self, error: MragError) -> None:
        """No question has an answer."""
        for row in self._rows:
            self.outcomes[row] = error

    def answer(self, answers: Sequence[Answer | MragError]) -> None:
        """Gives each question's answer to its request; one error is the whole request's."""
        for row, answer in zip(self._rows, answers, strict=True):
            earlier = self.outcomes[row]
            if isinstance(earlier, MragError):
                continue
            if isinstance(answer, MragError):
                self.outcomes[row] = answer
            else:
                earlier.append(answer)
