"""Everything that can go wrong, as types that say whether trying again can help.

    MragError
    |-- PermanentError            the same call will fail again
    |   |-- ConfigError           the config file or a command's arguments
    |   |-- CorpusError           the corpus cannot be read at all
    |   |   |-- CorpusNotFound
    |   |   |-- EmptyCorpus
    |   |   `-- BrokenFile
    |   |-- TooManyDeadLetters    more bad documents than the config allows
    |   |-- TooManyDeleted        a sync would take away more than the config allows
    |   |-- EncoderError          the model
    |   |   |-- ModelNotFound
    |   |   |-- UnsafeWeights     pickled weights: they could run code
    |   |   |-- UnsupportedArchitecture
    |   |   `-- BadVectors        NaN, inf or zero where a vector should be
    |   |-- PlanRefused           known to fail before anything is spent
    |   |-- FingerprintMismatch   found work belongs to another plan
    |   |-- StagingError          staged files are missing or damaged
    |   |-- VerifyFailed          a loaded version is not what was staged
    |   |-- GateClosed            a whole version that is worse than the live one
    |   |-- NoLiveVersion         nothing to search
    |   |-- LlmRefused            the chat model's answer is none
    |   |-- TooFewChunks          importance needs at least two
    |   |-- Unauthorized          a request without a key, or with one nobody knows
    |   |-- Forbidden             a key that may not do what it asks
    |   |-- NotFound              nothing of that name or number
    |   |-- NotConfigured         a part of the service that is not set up
    |   `-- StorageFull           the disk
    `-- TransientError            trying again may work
        |-- IndexBusy             another process owns it
        |-- IndexUnavailable      no answer, or a time-out
        |-- LlmUnavailable        no answer from the chat model
        |-- OutOfTime             the request's seconds are over
        |-- NotReady              the service cannot answer yet
        |-- Overloaded            more is asked for at once than is answered
        |-- TooManyRequests       one caller asks for more than its share
        `-- WorkerLost            an actor or its node died

An error is built from facts (strings), so it survives pickling between processes.
"""

from __future__ import annotations


class MragError(Exception):
    """What was found, what was expected, what to do.

    Args:
        found: what is wrong, with the value and the place.
        expected: what would have been right; may be empty.
        fix: what the reader can do now; may be empty.
    """

    exit_code = 1

    def __init__(self, found: str, expected: str = "", fix: str = "") -> None:
        super().__init__(found, expected, fix)
        self.found = found
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.fix:
            lines.append(f"to fix: {self.fix}")
        return "\n".join(lines)


class PermanentError(MragError):
    """The same call will fail again."""


class TransientError(MragError):
    """Trying again may work."""


class ConfigError(PermanentError):
    """The config file or a command's arguments."""

    exit_code = 2


class CorpusError(PermanentError):
    """The corpus cannot be read at all."""

    exit_code = 3


class CorpusNotFound(CorpusError):
    """No such path or URI."""


class EmptyCorpus(CorpusError):
    """No document to embed."""


class BrokenFile(CorpusError):
    """A file that is not what its name says."""


class TooManyDeadLetters(CorpusError):
    """More bad documents than the config allows."""


class TooManyDeleted(CorpusError):
    """A sync would take away more documents than the config allows."""


class EncoderError(PermanentError):
    """The model."""

    exit_code = 4


class ModelNotFound(EncoderError):
    """No such model, or no way to reach it."""


class UnsafeWeights(EncoderError):
    """Pickled weights: they could run code."""


class UnsupportedArchitecture(EncoderError):
    """No attention heads to read."""


class BadVectors(EncoderError):
    """NaN, inf or zero where a vector should be, or numbers that its type does not have."""


class PlanRefused(PermanentError):
    """Known to fail before anything is spent."""

    exit_code = 2


class FingerprintMismatch(PermanentError):
    """Found work belongs to another plan."""

    exit_code = 6


class StagingError(PermanentError):
    """Staged files are missing or damaged."""

    exit_code = 6


class VerifyFailed(PermanentError):
    """A loaded version is not what was staged."""

    exit_code = 6


class GateClosed(PermanentError):
    """A whole version that is worse than the live one."""

    exit_code = 9


class NoLiveVersion(PermanentError):
    """Nothing to search."""

    exit_code = 5


class LlmRefused(PermanentError):
    """The chat model's answer is none."""

    exit_code = 5


class TooFewChunks(PermanentError):
    """Importance needs at least two chunks."""

    exit_code = 3


class StorageFull(PermanentError):
    """The disk."""

    exit_code = 7


class IndexBusy(TransientError):
    """Another process owns it."""

    exit_code = 5


class IndexUnavailable(TransientError):
    """No answer, or a time-out."""

    exit_code = 5


class HeadsMissing(TransientError):
    """Too few heads answered in time."""

    exit_code = 5


class WorkerLost(TransientError):
    """An actor or its node died."""

    exit_code = 8


class LlmUnavailable(TransientError):
    """No answer from the chat model."""

    exit_code = 5


class Unauthorized(PermanentError):
    """A request without a key, or with one nobody knows."""


class Forbidden(PermanentError):
    """A key that may not do what it asks."""


class NotFound(PermanentError):
    """Nothing of that name or number."""


class NotConfigured(PermanentError):
    """A part of the service that is not set up."""


class OutOfTime(TransientError):
    """The request's seconds are over."""


class NotReady(TransientError):
    """The service cannot answer yet."""


class Overloaded(TransientError):
    """More is asked for at once than is answered."""

    def __init__(
        self, found: str, expected: str = "", fix: str = "", retry_after_s: float = 1.0
    ) -> None:
        """The facts, and when to ask again."""
        super().__init__(found, expected, fix)
        self.retry_after_s = retry_after_s


class TooManyRequests(Overloaded):
    """One caller asks for more than its share."""
