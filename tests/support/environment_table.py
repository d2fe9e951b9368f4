"""The odd environments that docs/environments.md tells of; its table is made from this list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Variables = Mapping[str, str | None]  # None removes one; `{folder}` is the test's own folder

PROXY = "http://127.0.0.1:9"  # nothing listens there
PROXIES = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), PROXY)
EVERY_PROXY = {**PROXIES, "ALL_PROXY": PROXY, "all_proxy": PROXY, "grpc_proxy": PROXY}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LONG = "{folder}/" + "t" * 120
UNWRITABLE = "{folder}/unwritable"
UNKNOWN = {"LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"}

_E2E, _UNIT = "tests/e2e/test_environments.py", "tests/unit/test_environment.py"


@dataclass(frozen=True, slots=True)
class Odd:
    """A row of the page."""

    name: str
    happens: str
    doctor: str  # what `mrag doctor` says of it
    held_by: tuple[str, ...]  # tests, beside the one of `mrag doctor`
    visit: str  # rows of one name can be met together: `mrag doctor` is run once for them
    variables: Variables = field(default_factory=dict)
    unwritable: str = ""  # of the project: the folder that cannot be written

    def row(self) -> str:
        """Its line of the table."""
        held_by = ", ".join(f"`{test}`" for test in self.held_by)
        return f"| {self.name} | {self.happens} | {self.doctor} | {held_by} |"


ODD = (
    Odd(
        "`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `grpc_proxy` without `NO_PROXY`",
        "loopback is added to `no_proxy` and `NO_PROXY` in the command and what it starts: Milvus "
        "Lite, Prefect and Ray are reached directly, everything else by the proxy",
        "grpc_proxy is http://127.0.0.1:9, not used for localhost",
        (
            f"{_E2E}::test_the_index_is_read",
            f"{_E2E}::test_a_question_behind_a_proxy_that_refuses",
            f"{_E2E}::test_an_ingest_behind_a_proxy_that_refuses",
            f"{_E2E}::test_a_service_behind_a_proxy_that_refuses",
            f"{_UNIT}::test_loopback_never_goes_through_a_proxy",
        ),
        "set",
        EVERY_PROXY,
    ),
    Odd(
        "`HOME` unset",
        "the user's folder is taken; a user who has none gets a folder `mrag-UID` in the temporary "
        "folder, readable by this user only",
        "HOME is not set",
        (f"{_E2E}::test_the_index_is_read", f"{_UNIT}::test_a_user_without_a_home_gets_one"),
        "set",
        {"HOME": None},
    ),
    Odd(
        "`HOME` naming no folder",
        "the folder `mrag-UID`",
        "HOME is not set, or names no folder",
        (f"{_E2E}::test_the_index_is_read", f"{_UNIT}::test_a_user_without_a_home_gets_one"),
        "missing",
        {"HOME": "/nonexistent"},
    ),
    Odd(
        "a home that cannot be written",
        "Prefect's database goes to that folder (`PREFECT_HOME`), a local Ray gets a token of its "
        "own; models in `~/.cache` are read, to download some set `HF_HOME`",
        "cannot be written: Prefect's database is in",
        (
            f"{_E2E}::test_a_run_where_home_and_temporary_folder_cannot_be_written",
            f"{_UNIT}::test_a_home_that_cannot_be_written_lends_prefect_another_place",
        ),
        "unwritable",
        {"HOME": UNWRITABLE},
    ),
    Odd(
        "`TMPDIR` longer than 39 characters",
        "a socket's path has 107 at most and Ray's takes 68: Ray and HAProxy use `/tmp` "
        "(`RAY_TMPDIR`)",
        "that leave room for a socket's name: sockets are in /tmp",
        (
            f"{_E2E}::test_an_ingest_on_ray_with_a_long_temporary_folder",
            f"{_UNIT}::test_a_temporary_folder_too_long_for_sockets_is_left_out",
        ),
        "set",
        {"TMPDIR": LONG},
    ),
    Odd(
        "`TMPDIR` missing",
        "as Python does, `/tmp` or `/var/tmp`",
        "TMPDIR /nonexistent is missing or cannot be written: temporary files are in /tmp",
        (f"{_E2E}::test_the_index_is_read",),
        "missing",
        {"TMPDIR": "/nonexistent"},
    ),
    Odd(
        "`TMPDIR` that cannot be written",
        "as Python does, `/tmp` or `/var/tmp`",
        "is missing or cannot be written: temporary files are in /tmp",
        (f"{_E2E}::test_a_run_where_home_and_temporary_folder_cannot_be_written",),
        "unwritable",
        {"TMPDIR": UNWRITABLE},
    ),
    Odd(
        "no temporary folder at all",
        "exit 2 before Ray is started, naming every folder that was tried",
        "no folder for Ray's sockets",
        (f"{_UNIT}::test_no_place_for_sockets_is_said_in_one_line",),
        "",  # not without taking /tmp from everybody
    ),
    Odd(
        "`RAY_TMPDIR` that is missing, too long or cannot be written",
        "Ray would take or make it: exit 2 before Ray is started; with `workers.pool = 'ray'` "
        "before anything is read",
        "no folder for Ray's sockets: RAY_TMPDIR",
        (
            f"{_E2E}::test_a_folder_for_sockets_that_cannot_be_written_is_refused",
            f"{_UNIT}::test_a_chosen_folder_for_sockets_is_taken_or_refused",
        ),
        "sockets",
        {"RAY_TMPDIR": UNWRITABLE},
    ),
    Odd(
        "an index folder that cannot be written (Milvus Lite)",
        "it is searched: Lite gets a folder of links to its files ([decision "
        "86](decisions/0086-a-read-only-index-is-searched-by-links.md)). A change is refused with "
        "exit 2 before anything is read or embedded",
        "index.db: read-only, it can be searched only",
        (
            f"{_E2E}::test_a_read_only_index_is_searched",
            f"{_E2E}::test_a_read_only_index_is_not_changed",
            "tests/components/index/test_read_only.py",
        ),
        "unwritable",
        unwritable="index.db",
    ),
    Odd(
        "a staging folder that cannot be written",
        "searching does not touch it; a run ends with exit 6 before it plans",
        "cannot be written",
        (
            f"{_E2E}::test_a_staging_folder_that_cannot_be_written_is_refused_by_a_run",
            "tests/unit/locking/test_file_lock.py",
        ),
        "sockets",
        unwritable="staging",
    ),
    Odd(
        "an ASCII locale (`LC_ALL=C` with `PYTHONUTF8=0`)",
        "the command starts itself again in Python's UTF-8 mode, as do the processes that it "
        "starts",
        "the locale is plain ASCII or unknown (LC_ALL=C)",
        (f"{_E2E}::test_a_question_beyond_ascii_in_an_ascii_locale",),
        "set",
        ASCII,
    ),
    Odd(
        "an unknown locale (`LC_ALL=xx_XX.UTF-8`)",
        "Python's own UTF-8 mode",
        "the locale is plain ASCII or unknown (LC_ALL=xx_XX.UTF-8)",
        (f"{_E2E}::test_the_index_is_read",),
        "missing",
        UNKNOWN,
    ),
)
HEADER = (
    "| variable or permission | what happens | `mrag doctor` says | held by |\n|---|---|---|---|"
)


def table() -> str:
    """The page's table."""
    return "\n".join([HEADER, *(odd.row() for odd in ODD)])
