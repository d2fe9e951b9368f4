"""What a worker logs comes with its answers: each line once, and never a flood."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator

import pytest

from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.runtime import worker_lines
from mrag_pipeline.runtime.worker_lines import AT_ONCE, MOST_CHARS, LineBuffer, Lines

NODE = "10.0.0.2/ab12cd34"


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Of the buffer."""
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> LineBuffer:
    """Keeps what the worker's logger says."""
    return LineBuffer(clock)


@pytest.fixture
def worker(buffer: LineBuffer) -> Iterator[logging.Logger]:
    """A logger in a worker; the same name is the driver's."""
    logger = logging.getLogger("tests.of_a_worker")
    logger.addHandler(buffer)
    yield logger
    logger.removeHandler(buffer)


def texts(lines: Lines) -> list[str]:
    """Of the lines."""
    return [line.text for line in lines.lines]


def test_a_line_is_taken_once(worker: logging.Logger, buffer: LineBuffer) -> None:
    """In the order in which they were logged."""
    worker.warning("slow shard=%d", 3)
    worker.error("again")
    assert texts(buffer.taken()) == ["slow shard=3", "again"]
    assert buffer.taken().lines == ()


def test_a_million_lines_are_cut_short(
    worker: logging.Logger, buffer: LineBuffer, clock: Clock
) -> None:
    """The first come, the others are counted; a minute later there is room for 60 more."""
    for number in range(2_000):
        worker.warning("line %d", number)
    first = buffer.taken()
    assert texts(first) == [f"line {number}" for number in range(AT_ONCE)]
    assert first.num_left_out == 2_000 - AT_ONCE
    clock.now = 60.0
    for number in range(2_000):
        worker.warning("line %d", number)
    assert len(buffer.taken().lines) == 60


def test_many_short_items_make_no_flood_either(
    worker: logging.Logger, buffer: LineBuffer, clock: Clock
) -> None:
    """Neither of lines, nor of the numbers of those that were left out; none is told twice."""
    taken = []
    for number in range(1_000):
        clock.now = number / 10
        worker.warning("one")
        worker.warning("two")
        taken.append(buffer.taken())
    told = [lines for lines in taken if lines.lines or lines.num_left_out]
    num_lines = sum(len(lines.lines) for lines in taken)
    assert len(told) <= AT_ONCE + 100
    assert num_lines <= AT_ONCE + 100
    assert num_lines + sum(lines.num_left_out for lines in taken) <= 2_000


def test_a_long_line_is_cut(worker: logging.Logger, buffer: LineBuffer) -> None:
    """With its stack: an error may hold a document."""
    try:
        raise ValueError("x" * 10_000)
    except ValueError:
        worker.exception("failed")
    [text] = texts(buffer.taken())
    assert len(text) == MOST_CHARS
    assert text.startswith("failed\nTraceback")


def test_an_error_brings_its_lines(
    worker: logging.Logger, buffer: LineBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    """Pickled, as it comes from a worker; they are logged once, and the error is as it was."""
    worker.warning("no answer yet")
    error = IndexUnavailable("no answer", "one", "start it")
    buffer.give_to(error)
    assert buffer.taken().lines == ()
    came = pickle.loads(pickle.dumps(error))
    caplog.clear()
    worker_lines.log_lines_of(came, NODE)
    worker_lines.log_lines_of(came, NODE)
    assert [record.getMessage().split(" ", 2)[2] for record in caplog.records] == ["no answer yet"]
    assert vars(came) == {"found": "no answer", "expected": "one", "fix": "start it"}


def test_an_error_that_can_bring_nothing_leaves_it_to_the_next_answer(
    worker: logging.Logger, buffer: LineBuffer
) -> None:
    """Such as one of a compiled library."""

    class Closed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    worker.warning("first")
    buffer.give_to(Closed())
    worker.warning("second")
    assert texts(buffer.taken()) == ["first", "second"]


def test_a_line_names_its_node_and_worker(
    worker: logging.Logger, buffer: LineBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    """And has its logger's name, level and time; formatters find both as attributes."""
    worker.error("100% wrong")
    lines = buffer.taken()
    caplog.clear()
    worker_lines.log_lines(lines, NODE)
    [record] = caplog.records
    assert record.getMessage() == f"node={NODE} worker={lines.worker} 100% wrong"
    assert (record.name, record.levelname) == ("tests.of_a_worker", "ERROR")
    assert record.created == lines.lines[0].said_at
    assert (vars(record)["node"], vars(record)["worker"]) == (NODE, lines.worker)


def test_what_was_left_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With where it is from."""
    worker_lines.log_lines(Lines((), 7, 4711), NODE)
    assert caplog.messages == [f"worker_lines_left_out node={NODE} worker=4711 lines=7"]


def test_the_log_takes_the_levels_that_it_takes_of_its_own(
    worker: logging.Logger, buffer: LineBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    """A logger that was turned down is turned down for workers too."""
    worker.warning("known")
    lines = buffer.taken()
    caplog.set_level(logging.ERROR, worker.name)
    caplog.clear()
    worker_lines.log_lines(lines, NODE)
    assert caplog.records == []
