"""Everything that can go wrong, as types that say whether trying again can help.

    MragError
    |-- PermanentError                    The same call will fail again
    |   |-- ConfigError                   The config file or a command's arguments are wrong
    |   |   `-- NotInstalled              A part of mrag that is not installed is wanted
    |   |-- CorpusError                   The corpus cannot be read
    |   |   |-- CorpusNotFound            No such path or URI
    |   |   |-- EmptyCorpus               No document to embed
    |   |   |-- BrokenFile                A file is not what its name says
    |   |   |-- TooManyDeadLetters        More unreadable documents than the config allows
    |   |   `-- TooManyDeleted            A sync would delete more documents than the config allows
    |   |-- EncoderError                  The model cannot be used
    |   |   |-- ModelNotFound             No such model, or no way to reach it
    |   |   |-- UnsafeWeights             Pickled weights: loading them could run code
    |   |   |-- UnsupportedArchitecture   The model has no attention heads that can be read
    |   |   `-- BadVectors                NaN, inf or zero in a vector, or numbers outside its type
    |   |-- PlanRefused                   Known to fail before anything is spent
    |   |-- FingerprintMismatch           Existing work belongs to another plan
    |   |-- NewerFormat                   A newer mrag wrote it, in a format unknown here
    |   |-- StagingError                  Staged files are missing or damaged
    |   |-- VerifyFailed                  A loaded version differs from what was staged
    |   |   |-- IndexDamaged              A part of the index cannot be read
    |   |   `-- DamageFound               A version is damaged: what was found, and what was done
    |   |-- GateClosed                    A complete version is worse than the live one
    |   |-- NoLiveVersion                 There is no version to search
    |   |-- LlmRefused                    The chat model returned no usable answer
    |   |-- RerankerRefused               The reranker returned no usable scores
    |   |-- TooFewChunks                  An index needs at least one chunk
    |   |-- StorageFull                   The disk is full
    |   |-- Unauthorized                  The request has no API key, or an unknown one
    |   |-- Forbidden                     The API key does not allow the request
    |   |-- NotFound                      Nothing has that name or id
    |   `-- NotConfigured                 A part of the service is not configured
    `-- TransientError                    Trying again may succeed
        |-- IndexBusy                     Another process owns the index
        |-- IndexUnavailable              The index did not answer, or not in time
        |-- HeadsMissing                  Too few heads answered in time
        |-- WorkerLost                    A worker or its node died
        |   `-- RayBroken                 The local Ray has lost a part
        |-- LlmUnavailable                The chat model did not answer
        |-- RerankerUnavailable           The reranker did not answer
        |-- OutOfTime                     The request's time is up
        |-- NotReady                      The service cannot answer yet
        `-- Overloaded                    More requests than the service can take at once
            `-- TooManyRequests           One caller sends more requests than its limit

An error is built from facts (strings), so it survives pickling between processes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class MragError(Exception):
    """What was found, what was expected, what to do.

    Args:
        found: what happened, with the value and where it stands.
        expected: what would have been right; may be empty.
        fix: what the user can do now; may be empty.
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
    """Trying again may succeed."""


class ConfigError(PermanentError):
    """The config file or a command's arguments are wrong."""

    exit_code = 2


class NotInstalled(ConfigError):
    """A part of mrag that is not installed is wanted."""


class CorpusError(PermanentError):
    """The corpus cannot be read."""

    exit_code = 3


class CorpusNotFound(CorpusError):
    """No such path or URI."""


class EmptyCorpus(CorpusError):
    """No document to embed."""

    run = ""  # the version that was planned, if it came so far
    dead_letters: tuple[object, ...] = ()  # what the corpus has instead of documents


class BrokenFile(CorpusError):
    """A file is not what its name says."""


class TooManyDeadLetters(CorpusError):
    """More unreadable documents than the config allows."""


class TooManyDeleted(CorpusError):
    """A sync would delete more documents than the config allows."""


class EncoderError(PermanentError):
    """The model cannot be used."""

    exit_code = 4


class ModelNotFound(EncoderError):
    """No such model, or no way to reach it."""


class UnsafeWeights(EncoderError):
    """Pickled weights: loading them could run code."""


class UnsupportedArchitecture(EncoderError):
    """The model has no attention heads that can be read."""


class BadVectors(EncoderError):
    """NaN, inf or zero in a vector, or numbers outside its type."""


class PlanRefused(PermanentError):
    """Known to fail before anything is spent."""

    exit_code = 2


class FingerprintMismatch(PermanentError):
    """Existing work belongs to another plan."""

    exit_code = 6


class NewerFormat(PermanentError):
    """A newer mrag wrote it, in a format unknown here."""

    exit_code = 6


class StagingError(PermanentError):
    """Staged files are missing or damaged."""

    exit_code = 6


class VerifyFailed(PermanentError):
    """A loaded version differs from what was staged."""

    exit_code = 6


class IndexDamaged(VerifyFailed):
    """A part of the index cannot be read."""


class DamageFound(VerifyFailed):
    """A version is damaged: what was found, and what was done."""

    def __init__(
        self,
        found: str,
        expected: str = "",
        fix: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes the facts, and the plain values that the run would have returned."""
        super().__init__(found, expected, fix)
        self.result = dict(result or {})


class GateClosed(PermanentError):
    """A complete version is worse than the live one."""

    exit_code = 9


class NoLiveVersion(PermanentError):
    """There is no version to search."""

    exit_code = 5


class LlmRefused(PermanentError):
    """The chat model returned no usable answer."""

    exit_code = 5


class RerankerRefused(PermanentError):
    """The reranker returned no usable scores."""

    exit_code = 5


class TooFewChunks(PermanentError):
    """An index needs at least one chunk."""

    exit_code = 3


class StorageFull(PermanentError):
    """The disk is full."""

    exit_code = 7


class IndexBusy(TransientError):
    """Another process owns the index."""

    exit_code = 5


class IndexUnavailable(TransientError):
    """The index did not answer, or not in time."""

    exit_code = 5


class HeadsMissing(TransientError):
    """Too few heads answered in time."""

    exit_code = 5


class WorkerLost(TransientError):
    """A worker or its node died."""

    exit_code = 8


class RayBroken(WorkerLost):
    """The local Ray has lost a part."""


class LlmUnavailable(TransientError):
    """The chat model did not answer."""

    exit_code = 5


class RerankerUnavailable(TransientError):
    """The reranker did not answer."""

    exit_code = 5


class Unauthorized(PermanentError):
    """The request has no API key, or an unknown one."""


class Forbidden(PermanentError):
    """The API key does not allow the request."""


class NotFound(PermanentError):
    """Nothing has that name or id."""


class NotConfigured(PermanentError):
    """A part of the service is not configured."""


class OutOfTime(TransientError):
    """The request's time is up."""


class NotReady(TransientError):
    """The service cannot answer yet."""


class Overloaded(TransientError):
    """More requests than the service can take at once."""

    def __init__(
        self, found: str, expected: str = "", fix: str = "", retry_after_s: float = 1.0
    ) -> None:
        """Takes the facts, and after how many seconds to try again."""
        super().__init__(found, expected, fix)
        self.retry_after_s = retry_after_s


class TooManyRequests(Overloaded):
    """One caller sends more requests than its limit."""


def first_line(error: object) -> str:
    """The first line of an error's message, or its type's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_no_space(error: object) -> bool:
    """Whether it says that the disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
