"""A local Ray's folder is removed when it has ended; nobody else's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrag_pipeline.runtime.session_folder import KEPT_S, MARK, mark, remove, remove_ended


def a_session(place: Path, name: str, age_s: float | None = None) -> Path:
    """A folder as Ray leaves it; with a mark of this age that nobody holds, if there is an age."""
    folder = place / f"session_{name}"
    (folder / "logs" / "serve").mkdir(parents=True)
    (folder / "logs" / "raylet.out").write_text("x")
    (folder / "port").write_text("1")
    if age_s is not None:
        (folder / MARK).touch()
        for file in (folder / MARK, *(folder / "logs").iterdir()):
            os.utime(file, (time.time() - age_s, time.time() - age_s))
    return folder


@contextmanager
def living(folder: Path) -> Iterator[None]:
    """Another process has marked the folder, and lives within the block."""
    code = (
        "import sys; from pathlib import Path; from mrag_pipeline.runtime import session_folder; "
        "session_folder.mark(Path(sys.argv[1])); print('marked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"marked\n"
        yield
        process.stdin.close()


def test_a_marked_folder_goes_with_its_link(tmp_path: Path) -> None:
    """And nothing beside it."""
    folder, other = a_session(tmp_path, "a"), a_session(tmp_path, "b")
    (tmp_path / "session_latest").symlink_to(folder)
    mark(folder)
    remove(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name]


def test_an_unmarked_folder_stays(tmp_path: Path) -> None:
    """Of `ray start`, of another program."""
    folder = a_session(tmp_path, "a")
    remove(folder)
    assert (folder / "logs" / "raylet.out").exists()
    assert remove_ended(tmp_path, kept_s=0) == []


def test_what_ended_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    """A younger one stays for its logs."""
    a_session(tmp_path, "old", KEPT_S + 60)
    a_session(tmp_path, "new", KEPT_S - 60)
    assert remove_ended(tmp_path) == ["session_old"]
    assert [path.name for path in tmp_path.iterdir()] == ["session_new"]


def test_the_day_begins_with_the_last_line_of_a_log(tmp_path: Path) -> None:
    """A long run that was killed leaves its logs for a day, too."""
    folder = a_session(tmp_path, "long", 3 * KEPT_S)
    os.utime(folder / "logs" / "raylet.out")
    assert remove_ended(tmp_path) == []


def test_a_living_processs_folder_stays_however_old(tmp_path: Path) -> None:
    """Until it ends, also by a kill: the kernel takes its lock back."""
    folder = a_session(tmp_path, "a")
    with living(folder):
        assert remove_ended(tmp_path, kept_s=0) == []
        assert (folder / "logs" / "raylet.out").exists()
    assert remove_ended(tmp_path, kept_s=0) == ["session_a"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody makes us remove a folder by a link in a place that all may write."""
    outside = a_session(tmp_path / "outside", "a", 10 * KEPT_S)
    place = tmp_path / "place"
    place.mkdir()
    (place / "session_x").symlink_to(outside)
    inner = a_session(place, "y", 10 * KEPT_S)
    (inner / "link").symlink_to(outside)
    assert remove_ended(place) == [inner.name]
    assert (outside / "logs" / "raylet.out").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a folder to another user")
def test_another_users_folder_stays(tmp_path: Path) -> None:
    """Marked or not, and whoever we are."""
    folder = a_session(tmp_path, "a", 10 * KEPT_S)
    os.chown(folder, 12_345, -1)
    assert remove_ended(tmp_path) == []
    remove(folder)
    assert (folder / "logs" / "raylet.out").exists()


@pytest.mark.timeout(300)
@pytest.mark.long
def test_a_local_ray_leaves_no_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Started and stopped as a run does it."""
    code = (
        "from mrag_pipeline.runtime import cluster\n"
        "cluster.start_local(num_cpus=1)\n"
        "print(cluster._session, flush=True)\n"
        "cluster.disconnect_ray()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("session_2")
    assert not folder.exists()
    assert folder.parent.exists()
