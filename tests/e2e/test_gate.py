"""The gate in the ingest flow: a worse version is complete but does not go live."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch

from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.made_corpus import made_corpus
from tests.support.project_folder import Mrag, a_text, refused, write_lines

pytestmark = pytest.mark.timeout(1800)


def artifacts(prefect: str, key: str) -> list[str]:
    """The artifacts in the Prefect UI under the key, newest first."""
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    request = Request(
        f"{prefect}/artifacts/filter",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return [str(artifact["data"]) for artifact in json.load(answer)]


def versions(mrag: Mrag) -> Any:
    return mrag("versions", "--json").json()


def test_a_worse_version_does_not_go_live(mrag: Mrag, prefect: str) -> None:
    """Exit 9 with the figures, in the terminal and in Prefect; `mrag activate` switches anyway."""
    write_lines(Path("x.jsonl"), range(12))
    queries = [{"text": a_text(i), "relevant": [f"d{i}"]} for i in range(4)]
    Path("queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    with Path("mrag.toml").open("a") as file:
        file.write('[workers]\npool = "serial"\n[gate]\nqueries = "queries.jsonl"\n')
    assert mrag("ingest", "x.jsonl").code == 0
    before = versions(mrag)["live"]

    # The same ids with one text for all: no query can tell them apart.
    lines = [json.dumps({"id": f"d{i}", "text": "Nothing is left of it."}) for i in range(12)]
    Path("x.jsonl").write_text("\n".join(lines) + "\n")
    said = mrag("ingest", "x.jsonl")
    refused(
        said,
        9,
        "is complete but was not made live",
        "against 1.000",
        "on 4 queries",
        "mrag activate",
        at_once=False,
    )

    listed = versions(mrag)
    assert listed["live"] == before
    [worse] = [row for row in listed["versions"] if row["version"] != before]
    assert (worse["state"], worse["documents"]) == ("never live", 12)
    # Others of the tests that share the server have an index of this name, too.
    told = [text for text in artifacts(prefect, "bad-gate") if worse["version"] in text]
    assert "**shut**: success ratio" in told[0]
    assert mrag("audit", "--version", worse["version"]).code == 0
    assert mrag("activate", worse["version"]).code == 0
    assert versions(mrag)["live"] == worse["version"]
    assert mrag("activate", before).code == 0
    assert versions(mrag)["live"] == before


def damaged_copy(model: str, folder: Path) -> Path:
    """The model with forty words left: every other one has the vector of one of them."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(find_model(EncoderSpec(model=model)).root, folder)
    weights = load_file(folder / "model.safetensors")
    [name] = [name for name in weights if name.endswith("word_embeddings.weight")]
    words = weights[name]
    weights[name] = words[1_000 + torch.arange(len(words)) % 40].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.long
def test_a_worse_encoder_is_stopped_without_labelled_queries(
    mrag: Mrag, minilm: EncoderSpec, tmp_path: Path
) -> None:
    """Questions made from the documents: a damaged model fails, an equal version goes live."""
    lines = [
        json.dumps({"id": document.id, "title": document.title, "text": document.text})
        for document in made_corpus(60)
    ]
    Path("x.jsonl").write_text("\n".join(lines) + "\n")
    with Path("mrag.toml").open("a") as file:
        file.write('[workers]\npool = "serial"\n')
    assert mrag("ingest", "x.jsonl").code == 0
    before = versions(mrag)["live"]
    damaged = damaged_copy(minilm.model, tmp_path / "damaged")
    refused(
        mrag("ingest", "x.jsonl", "-s", f"encoder.model={damaged}"),
        9,
        "is complete but was not made live",
        "questions made from the documents",
        "95% [-",
        at_once=False,
    )
    assert versions(mrag)["live"] == before
    equal = mrag("ingest", "x.jsonl", "-s", "sharding.shard_mb=0.01")
    assert equal.code == 0, equal.err
    assert versions(mrag)["live"] != before
