"""Log lines sent by a thread of their own, and what copies them to a command's output."""

from __future__ import annotations

import builtins
import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mrag_pipeline.serving.ray import log_streams
from mrag_pipeline.serving.ray.log_streams import CopiedStream
from mrag_pipeline.serving.telemetry.sent_lines import SentLines

WAIT_S = 30.0


def a_record(message: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, message, None, None)


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


class Output:
    """A pipe that stands for a command's standard output."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.read = b""

    def lines(self) -> list[str]:
        """All that has come, in whole lines."""
        os.set_blocking(self.reading, False)
        while True:
            try:
                data = os.read(self.reading, 65_536)
            except BlockingIOError:
                break
            if not data:
                break
            self.read += data
        return self.read.decode().splitlines()

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def output() -> Iterator[Output]:
    """A pipe."""
    made = Output()
    yield made
    made.close()


@pytest.fixture
def copied(tmp_path: Path, output: Output) -> Iterator[Path]:
    """The path of a stream whose lines come out of the pipe."""
    path = tmp_path / "1"
    stream = CopiedStream(path, output.writing)
    stream.begin()
    yield path
    stream.close()


def test_lines_of_several_senders_come_out_whole(copied: Path, output: Output) -> None:
    """As each was logged, in its sender's order."""
    senders = [SentLines(copied) for _ in range(4)]
    text = "x" * 5_000  # more than a pipe takes at once
    for number in range(50):
        for which, sender in enumerate(senders):
            sender.emit(a_record(f"{which} {number} {text}"))
    wait_until(lambda: len(output.lines()) == 200)
    lines = [line.split() for line in output.lines()]
    assert all(rest == text for _, _, rest in lines)
    for which in range(4):
        assert [n for one, n, _ in lines if one == str(which)] == [str(n) for n in range(50)]
    for sender in senders:
        sender.close()


def test_lines_sent_before_the_copying_begins_wait(tmp_path: Path, output: Output) -> None:
    """What the command prints itself can stand first."""
    stream = CopiedStream(tmp_path / "1", output.writing)
    sender = SentLines(tmp_path / "1")
    sender.emit(a_record("early"))
    sender.flush()
    os.write(output.writing, b"ready\n")
    stream.begin()
    wait_until(lambda: output.lines() == ["ready", "early"])
    sender.close()
    stream.close()


def test_a_slow_reader_holds_up_nobody_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    """The sender keeps what it may; the rest is a number when lines are taken again."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "1"))
        server.listen()
        sender = SentLines(tmp_path / "1", lambda number: f"lost {number}", 100_000)
        began = time.monotonic()
        for number in range(3_000):
            sender.emit(a_record(f"{number} " + "x" * 1_000))
        assert time.monotonic() - began < 5  # 3 MB, and nobody reads
        connection, _ = server.accept()
        received = b""
        with connection:
            connection.settimeout(WAIT_S)
            while sum(counted(received)) < 3_000:
                received += connection.recv(65_536)
        sender.close()
    num_received, num_lost = counted(received)
    assert num_received + num_lost == 3_000
    assert num_lost > 1_000


def counted(received: bytes) -> tuple[int, int]:
    """Lines that came, in order, and lines that are told to be lost."""
    whole = received.rpartition(b"\n")[0].decode().splitlines()
    first_words = [line.split()[:2] for line in whole]
    numbers = [int(words[0]) for words in first_words if words[0] != "lost"]
    assert numbers == sorted(numbers)
    return len(numbers), sum(int(words[1]) for words in first_words if words[0] == "lost")


def test_a_reader_that_ended_and_came_back_is_found_again(tmp_path: Path, output: Output) -> None:
    """Lines wait for it."""
    sender = SentLines(tmp_path / "1")
    sender.emit(a_record("before there is a socket"))
    stream = CopiedStream(tmp_path / "1", output.writing)
    stream.begin()
    wait_until(lambda: output.lines() == ["before there is a socket"])
    stream.close()
    (tmp_path / "1").unlink()
    again = CopiedStream(tmp_path / "1", output.writing)
    again.begin()
    for number in range(3):  # the first may still go to the connection that has ended
        sender.emit(a_record(str(number)))
        sender.flush()
        time.sleep(0.05)
    wait_until(lambda: "2" in output.lines())
    sender.close()
    again.close()


def test_what_was_dropped_is_told_at_the_end(tmp_path: Path, output: Output) -> None:
    """Also when nothing waits any more."""
    stream = CopiedStream(tmp_path / "1", output.writing)
    sender = SentLines(tmp_path / "1", kept_bytes=100)
    sender.emit(a_record("x" * 200))
    sender.flush()
    sender.close()
    stream.close()
    assert output.lines() == ["log_lines_lost lines=1"]


def test_a_full_disk_loses_lines_and_says_how_many(
    tmp_path: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it has room again, on a line of its own; the copying goes on."""
    stream, write, room = CopiedStream(tmp_path / "1", output.writing), os.write, [3, 0]

    def written(descriptor: int, data: bytes) -> int:
        if descriptor != output.writing or not room:
            return write(descriptor, data)
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: room.pop(0)])

    monkeypatch.setattr(os, "write", written)
    stream._write(b"one\ntwo\n")
    stream._write(b"three\n")
    assert output.lines() == ["one"]
    room.clear()
    stream._write(b"four\n")
    assert output.lines() == ["one", "log_lines_lost lines=3", "four"]
    stream.close()


def test_a_line_that_is_too_long_is_dropped_whole(
    copied: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other sender's line is glued to a part of it."""
    monkeypatch.setattr(log_streams, "_LONGEST_BYTES", 1_000)
    with socket.socket(socket.AF_UNIX) as long, socket.socket(socket.AF_UNIX) as other:
        long.connect(str(copied))
        other.connect(str(copied))
        long.sendall(b"before\n" + b"x" * 2_000)
        wait_until(lambda: "log_lines_lost lines=1" in output.lines())
        other.sendall(b"another's\n")
        wait_until(lambda: "another's" in output.lines())
        long.sendall(b"x" * 2_000 + b"\nafter\n")
        wait_until(lambda: "after" in output.lines())
    assert output.lines() == ["before", "log_lines_lost lines=1", "another's", "after"]


def test_a_closed_output_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `mrag serve >&-` the number 1 belongs to whichever file was opened first."""
    monkeypatch.setattr(sys, "__stdout__", None)
    assert log_streams._copy_of(sys.__stdout__) is None
    stream = CopiedStream(tmp_path / "1", None)
    sender = SentLines(tmp_path / "1")
    stream.begin()
    sender.emit(a_record("x"))
    sender.flush()
    sender.close()
    stream.close()


def test_long_lines_of_several_writers_stay_whole_in_a_pipe(output: Output) -> None:
    """A pod's standard output takes more than 4 kB in pieces."""
    senders = [SentLines(Path(f"/proc/self/fd/{output.writing}")) for _ in range(4)]
    for number in range(20):
        for which, sender in enumerate(senders):
            sender.emit(a_record(str(which) * (50_000 if number % 2 else 100)))
    wait_until(lambda: len(output.lines()) == 80)
    assert all(len(set(line)) == 1 for line in output.lines())
    for sender in senders:
        sender.close()


def test_the_end_waits_for_the_last_lines(tmp_path: Path, output: Output) -> None:
    """Of a sender that has ended."""
    stream = CopiedStream(tmp_path / "1", output.writing)
    sender = SentLines(tmp_path / "1")
    for number in range(20):
        sender.emit(a_record(str(number)))
    sender.flush()
    sender.close()
    stream.close()  # it had not even begun
    assert output.lines() == [str(number) for number in range(20)]


def test_an_output_that_nobody_reads_ends_in_seconds(tmp_path: Path) -> None:
    """`mrag serve | head` would otherwise never end."""
    full, gone = Output(), Output()
    os.set_blocking(full.writing, False)
    with suppress(BlockingIOError):
        while os.write(full.writing, b"x" * 65_536):
            pass
    os.set_blocking(full.writing, True)
    os.close(gone.reading)
    for name, descriptor in (("full", full.writing), ("gone", gone.writing)):
        stream = CopiedStream(tmp_path / name, descriptor)
        sender = SentLines(tmp_path / name)
        sender.emit(a_record("x"))
        stream.begin()
        time.sleep(0.2)
        began = time.monotonic()
        stream.close()
        assert time.monotonic() - began < 10
        sender.close()
    os.close(gone.writing)
    os.close(full.reading)  # the thread that waited for it ends


def test_a_stream_may_be_a_pipe_or_a_file(tmp_path: Path, output: Output) -> None:
    """As `/proc/1/fd/1` is in a pod; a file is appended to."""
    (tmp_path / "file").write_text("before\n")
    sender = SentLines(tmp_path / "file")
    sender.emit(a_record("after"))
    sender.flush()
    assert (tmp_path / "file").read_text() == "before\nafter\n"
    sender.close()
    sender = SentLines(Path(f"/proc/self/fd/{output.writing}"))
    sender.emit(a_record("through a pipe"))
    wait_until(lambda: output.lines() == ["through a pipe"])
    sender.close()


def test_a_replicas_warnings_and_serves_errors_are_sent(
    copied: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their stacks; Serve's warnings tell of callers who have left."""
    root, serve = logging.getLogger(), logging.getLogger(log_streams.SERVE)
    for logger in (root, serve):
        monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(serve, "propagate", False)
    (copied.parent / "2").symlink_to(copied)
    # As Serve replaces it in a replica, and `traceback.print_exception` uses it.
    monkeypatch.setattr(builtins, "print", lambda *words, file, **_: file.write(str(words)))
    log_streams.send_errors(str(copied.parent))
    logging.getLogger("mrag_pipeline.x").info("quiet")
    serve.warning("a caller has left")
    serve.error("Request failed.")
    try:
        raise ZeroDivisionError("inside")
    except ZeroDivisionError as error:
        logging.getLogger("mrag_pipeline.x").error("request_failed request_id=r", exc_info=error)
    wait_until(lambda: bool(output.lines()) and "ZeroDivisionError" in output.lines()[-1])
    lines = output.lines()
    assert lines[:3] == [
        "Request failed.",
        "request_failed request_id=r",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "ZeroDivisionError: inside"
    for handler in root.handlers:
        handler.close()


def test_without_such_a_folder_nothing_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On another node of a cluster the command's sockets are not there; one warning says so."""
    before = list(logging.getLogger().handlers)
    log_streams.send_errors("")
    assert caplog.messages == []
    log_streams.send_errors(str(tmp_path / "elsewhere"))
    [warning] = caplog.messages
    assert str(tmp_path / "elsewhere") in warning
    assert logging.getLogger().handlers == before
    assert log_streams.request_lines("") is None
    assert log_streams.request_lines(str(tmp_path / "elsewhere")) is None


def test_dropped_request_lines_are_told_as_json(copied: Path) -> None:
    """The stream of requests stays one object a line."""
    handler = log_streams.request_lines(str(copied.parent))
    assert isinstance(handler, SentLines)
    told = json.loads(handler._lost_line(3))
    assert told == {"event": "lines_lost", "lines": 3}
    handler.close()


def test_a_handler_that_is_closed_leaves_no_thread(copied: Path) -> None:
    """A replaced app makes a new request log."""
    handler = SentLines(copied)
    handler.emit(a_record("x"))
    handler.flush()
    handler.close()
    wait_until(lambda: handler._thread not in threading.enumerate())
