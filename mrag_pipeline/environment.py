"""What a process finds around itself, made fit for the libraries that read it at their import.

Standard streams that are closed, proxies that would take a connection to this machine, a home
folder that cannot be written, a temporary folder whose path is too long for a socket. A variable
that the user has set for the library itself always wins.
"""

from __future__ import annotations

import codecs
import locale
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mrag_pipeline.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
# A socket's path has 107 bytes at most; Ray's adds 68 to its folder:
# /ray/session_2026-11-29_02-51-49_738718_4194304/sockets/plasma_store
MAX_SOCKETS_PATH = 107 - 68
_COMMON_FOLDERS = ("/tmp", "/var/tmp")


def settle() -> None:
    """Sets the variables that make the libraries work here; a second call changes nothing."""
    spare_loopback()
    _settle_home()
    _settle_sockets()


def open_closed_streams() -> None:
    """Opens the null device for each standard stream that was closed at the start (`>&-`).

    Python has None for it, which no command can write to, and its number, 0 to 2, would be given to
    the next file that is opened: what a library or a child process prints would go there.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # The lowest free number: the stream's own, as those below it are open by now.
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def keep_private() -> None:
    """What this process and its children write from now on is its user's alone: 0600 and 0700.

    Texts, embeddings and reports are in these files. `MRAG_UMASK` gives another mask, in octal:
    027 lets the group read.

    Raises: ConfigError if that is no mask.
    """
    given = os.environ.get("MRAG_UMASK", "077")
    if not re.fullmatch("0?[0-7]{3}", given):
        raise ConfigError(
            f"MRAG_UMASK is {given!r}", "three octal digits, such as 027", "export MRAG_UMASK=027"
        )
    os.umask(int(given, 8))


def proxies() -> dict[str, str]:
    """The proxies that are set, by variable."""
    names = (name for lower in _PROXIES for name in (lower, lower.upper()))
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def spare_loopback() -> None:
    """Connections to this machine pass no proxy: Milvus Lite, Prefect and Ray listen on loopback.

    httpx and urllib read `NO_PROXY` and `no_proxy`, gRPC only the latter.
    """
    if not proxies():
        return
    spared = f"{os.environ.get('no_proxy', '')},{os.environ.get('NO_PROXY', '')}".split(",")
    hosts = dict.fromkeys([*(host.strip() for host in spared if host.strip()), *LOOPBACK])
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(hosts)


def home() -> Path | None:
    """The user's home folder; None if the user has none."""
    try:
        folder = Path.home()
    except RuntimeError:  # neither HOME nor an entry of this user
        return None
    return folder if folder.is_dir() else None


def home_is_writable() -> bool:
    """Whether a library may make a folder in the user's home."""
    folder = home()
    return folder is not None and is_writable(folder)


def is_private_home() -> bool:
    """Whether HOME is a folder that `settle` made, because the user has none."""
    return Path(os.environ.get("HOME", "")).name.startswith("mrag-")


def private_folder() -> Path:
    """A folder of this user's alone, for what usually is in the home folder; it may be new.

    Raises: ConfigError if there is no temporary folder to make it in.
    """
    wanted = Path(temporary_folder()) / f"mrag-{os.getuid()}"
    try:
        wanted.mkdir(mode=0o700, exist_ok=True)
        status = wanted.lstat()
        if wanted.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise FileExistsError
    except OSError:  # somebody else was there first
        return Path(tempfile.mkdtemp(prefix="mrag-", dir=temporary_folder()))
    return wanted


def temporary_folder() -> str:
    """Where temporary files go.

    Raises: ConfigError if no such folder can be written.
    """
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise ConfigError(
            f"no temporary folder can be written: TMPDIR is {os.environ.get('TMPDIR', 'not set')}",
            "TMPDIR, /tmp or /var/tmp to be a folder that this user can write",
            "export TMPDIR=/path/to/a/folder",
        ) from None


def sockets_folder() -> str:
    """Where Ray and HAProxy open their sockets: writable, and with a short path.

    Raises: ConfigError if there is no such folder, or RAY_TMPDIR is none: Ray would take it.
    """
    chosen = os.environ.get("RAY_TMPDIR")
    others = [*filter(None, [os.environ.get("TMPDIR")]), *_COMMON_FOLDERS]
    tried = [chosen] if chosen else others
    for folder in tried:
        if not os.path.isdir(folder):
            continue  # Ray would make it; Python and HAProxy's folder do not
        if len(os.fsencode(folder)) <= MAX_SOCKETS_PATH and is_writable(Path(folder)):
            return folder
    named = f"RAY_TMPDIR={chosen}" if chosen else f"each of {', '.join(tried)}"
    raise ConfigError(
        f"no folder for Ray's sockets: {named} is missing, cannot be written or has more than "
        f"{MAX_SOCKETS_PATH} characters",
        "a folder with a short path that this user can write",
        "export RAY_TMPDIR=/short/path, or set workers.pool = 'serial' to ingest without Ray",
    )


def remarks() -> list[str]:
    """What is odd around this process and what was done about it, a line each; for people.

    Raises: ConfigError if there is no folder for sockets, or none for temporary files.
    """
    return [*_of_home(), *_of_temporary_folder(), *_of_proxies(), *_of_locale()]


def _of_home() -> Iterator[str]:
    if is_private_home():
        yield (
            f"HOME is not set, or names no folder: {os.environ['HOME']} takes its place; set "
            "HF_HOME to keep downloaded models"
        )
        return
    if not os.environ.get("HOME"):
        yield f"HOME is not set: {home()} is this user's"
    if not home_is_writable():
        yield (
            f"the home folder {home()} cannot be written: Prefect's database is in "
            f"{os.environ.get('PREFECT_HOME')}; set HF_HOME to download models"
        )


def _of_temporary_folder() -> Iterator[str]:
    given, used, sockets = os.environ.get("TMPDIR"), temporary_folder(), sockets_folder()
    if given and os.path.abspath(given) != used:
        yield f"TMPDIR {given} is missing or cannot be written: temporary files are in {used}"
    elif given and len(os.fsencode(given)) > MAX_SOCKETS_PATH:
        yield (
            f"TMPDIR has {len(os.fsencode(given))} characters, more than the {MAX_SOCKETS_PATH} "
            f"that leave room for a socket's name: sockets are in {sockets}"
        )


def _of_proxies() -> Iterator[str]:
    for name, address in proxies().items():
        # A proxy's address may have a password in it.
        yield f"{name} is {address.rpartition('@')[2]}, not used for {os.environ['no_proxy']}"


def _of_locale() -> Iterator[str]:
    if codecs.lookup(locale.getencoding()).name == "ascii":
        named = [name for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)]
        given = f"{named[0]}={os.environ[named[0]]}" if named else "no LANG"
        yield f"the locale is plain ASCII or unknown ({given}): texts are read and shown as UTF-8"


def is_writable(path: Path) -> bool:
    """Whether the path, or the folder it would be made in, can be written."""
    existing = next(
        (folder for folder in (path, *path.absolute().parents) if folder.exists()), path
    )
    return os.access(existing, os.W_OK | (os.X_OK if existing.is_dir() else 0))


def _settle_home() -> None:
    if home_is_writable():
        return
    try:
        folder = private_folder()
    except ConfigError:
        return  # `sockets_folder` and `mrag doctor` say so
    if home() is None:
        os.environ["HOME"] = str(folder)
    os.environ.setdefault("PREFECT_HOME", str(folder / "prefect"))
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))


def _settle_sockets() -> None:
    if os.environ.get("RAY_TMPDIR"):
        return
    try:
        folder = sockets_folder()
    except ConfigError:
        return  # raised where Ray is started
    # Ray takes TMPDIR as it is, whether it fits or not.
    if os.environ.get("TMPDIR", folder) != folder:
        os.environ["RAY_TMPDIR"] = folder
