"""The points of the comparison: what is done to a pipeline, and what its user sees then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.support.milvus_lite_server import lite_server
from torture.corpus import Documents, Question, as_bytes, probe
from torture.pipeline import Pipeline, Reader

KILLED_AT = (0.6, 0.85)  # of the CPU seconds that the command takes undisturbed
FRESH = "Llamas graze on the dyke behind the town hall."
LATIN = "The château's café: its opening hours in the winter are from ten to four."
Seen = Literal["right", "wrong", "refused"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table for one pipeline, in words for people and figures for machines."""

    point: str
    outcome: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Given:
    """What every pipeline is given."""

    texts: Documents
    own: tuple[str, ...]  # the files that probes ask for
    questions: Sequence[Question]
    model: Path
    earlier_model: Path
    make: Callable[[str, str], Pipeline]  # by the name of its new folder and a Milvus's address

    def probes(self) -> list[tuple[str, str]]:
        """Files that no point changes, each with a question that it answers."""
        return [(name, probe(self.texts[name])) for name in self.own[3:]]


def tortured(given: Given) -> Iterator[Row]:
    """All points, one after the other."""
    calm = given.make("calm", "")
    calm.give(as_bytes(given.texts))
    first = calm.ingest()
    with Reader(calm) as reader:
        answers = [reader.ask(question.text) or [] for question in given.questions]
    told = _failed(first.code)
    figures = {"ingest s": first.seconds, "ingest CPU s": first.cpu_s}
    outcome = f"{told}{first.cpu_s:.0f} s of CPU"
    yield Row(f"first ingest of {len(given.texts)} files", outcome, figures)
    figures = {"search s": reader.first_s, "search CPU s": reader.first_cpu_s}
    outcome = f"{told}{reader.first_cpu_s:.0f} s of CPU"
    yield Row("first answer of a new process", outcome, figures)
    yield Row("peak memory", f"{first.peak_mb:,.0f} MB", {"peak MB": first.peak_mb})
    share = success(answers, given.questions)
    yield Row("questions of several subjects: success at n", f"{share:.2f}", {"success": share})
    again = calm.ingest()
    outcome, figures = _state(given, calm)
    figures |= {"again s": again.seconds, "again CPU s": again.cpu_s}
    seconds = f"{_failed(again.code)}{again.cpu_s:.0f} s of CPU"
    yield Row("the same again", f"{seconds}; {outcome}", figures)
    update_cpu_s = yield from _changed(given, calm)
    yield from _killed(given, first.cpu_s)
    yield from _update_killed(given, calm, update_cpu_s)
    yield from _unreadable(calm)
    yield from _model_changed(given)


def success(found: Sequence[Sequence[str]], asked: Sequence[Question]) -> float:
    """Mean share of a question's n subjects among the first n different files of its answer."""
    shares = []
    for names, question in zip(found, asked, strict=True):
        first = set(list(dict.fromkeys(names))[: len(question.subjects)])
        hit = sum(bool(subject & first) for subject in question.subjects)
        shares.append(hit / len(question.subjects))
    return sum(shares) / len(shares)


def _changed(given: Given, calm: Pipeline) -> Generator[Row, None, float]:
    """One update: a file deleted, one renamed, one file and all filler changed; its CPU seconds."""
    deleted, renamed, changed = given.own[:3]
    texts = _edition(given, 2)
    for name in (deleted, renamed):
        del texts[name]
    texts |= {"renamed.txt": given.texts[renamed], changed: FRESH}
    calm.give(as_bytes(texts))
    done = calm.ingest()
    told = _failed(done.code)
    asked = [probe(given.texts[deleted]), probe(given.texts[renamed]), "Llamas on the dyke"]
    for_deleted, for_renamed, for_fresh = calm.search(asked)
    gone = deleted not in for_deleted
    yield Row("a file deleted", told + ("gone" if gone else "still found"), {"gone": gone})
    names = {renamed, "renamed.txt"} & set(for_renamed)
    outcome = "found by both names" if len(names) == 2 else f"found by {' '.join(names) or 'none'}"
    right = names == {"renamed.txt"}
    yield Row("a file renamed", told + ("new name" if right else outcome), {"renamed": right})
    fresh = for_fresh[:1] == [changed]
    yield Row("a file changed", told + ("new text" if fresh else "old text"), {"changed": fresh})
    return done.cpu_s


def _killed(given: Given, calm_cpu_s: float) -> Iterator[Row]:
    """Kill -9 at two moments of a first ingest, then the same command to its end."""
    victim = given.make("killed", "")
    victim.give(as_bytes(given.texts))
    deaths = sum(victim.ingest(calm_cpu_s * part).code == -9 for part in KILLED_AT)
    resumed = victim.ingest()
    outcome, figures = _state(given, victim)
    figures |= {"kills": deaths, "resumed s": resumed.seconds, "resumed CPU s": resumed.cpu_s}
    told = f"killed {deaths} times; {_failed(resumed.code)}{outcome}"
    told += f", {resumed.cpu_s:.0f} s of CPU to finish"
    yield Row("kill -9 in the first ingest, then run again", told, figures)


def _update_killed(given: Given, calm: Pipeline, update_cpu_s: float) -> Iterator[Row]:
    """The same in an update of all the filler; what readers find before and after the last run."""
    deleted, renamed, changed = given.own[:3]
    texts = _edition(given, 3)
    for name in (deleted, renamed, changed):
        del texts[name]
    calm.give(as_bytes(texts))
    deaths = sum(calm.ingest(update_cpu_s * part).code == -9 for part in KILLED_AT)
    outcome, figures = _state(given, calm)
    figures["kills"] = deaths
    told = f"killed {deaths} times; {outcome}"
    yield Row("kill -9 in an update: what is found then", told, figures)
    resumed = calm.ingest()
    outcome, figures = _state(given, calm)
    told = _failed(resumed.code) + outcome
    yield Row("and after it is run again", told, figures)


def _unreadable(calm: Pipeline) -> Iterator[Row]:
    """A new file whose bytes are not UTF-8, and a sound one beside it."""
    calm.add({"latin.txt": LATIN.encode("latin-1"), "sound.txt": FRESH.encode()})
    done = calm.ingest()
    for_sound, for_latin = calm.search([FRESH, LATIN])
    sound, latin = "sound.txt" in for_sound[:3], "latin.txt" in for_latin[:3]
    outcome = (
        f"{'it is' if latin else 'it is not'} found, the sound one {'is' if sound else 'is not'}"
    )
    figures = {"sound": float(sound), "latin": float(latin), "exit": float(done.code)}
    yield Row("a file in Latin-1 beside a sound one", _failed(done.code) + outcome, figures)


def _model_changed(given: Given) -> Iterator[Row]:
    """Another model, while a reader with the first one asks on; in a server that both may use."""
    with TemporaryDirectory() as folder, lite_server(Path(folder) / "server") as server:
        pipeline = given.make("model", server.uri)
        pipeline.model = given.earlier_model
        pipeline.give(as_bytes(given.texts))
        pipeline.ingest()
        probes = cycle(given.probes())
        with Reader(pipeline) as reader, ThreadPoolExecutor(1) as background:
            reader.ask(FRESH)
            pipeline.model = given.model
            ingesting = background.submit(pipeline.ingest)
            during: Counter[Seen] = Counter()
            while not ingesting.done():
                during[_seen(reader, *next(probes))] += 1
            after = Counter(_seen(reader, *next(probes)) for _ in given.probes())
        outcome, figures = _state(given, pipeline)
    told = _failed(ingesting.result().code)
    for moment, seen in (("during it", during), ("that stays", after)):
        outcomes = ", ".join(f"{seen[kind]} {kind}" for kind in ("right", "wrong", "refused"))
        point = f"another model: a reader {moment}"
        yield Row(point, told + outcomes, {kind: float(seen[kind]) for kind in seen})
    yield Row("another model: a new reader", told + outcome, figures)


def _seen(reader: Reader, name: str, question: str) -> Seen:
    found = reader.ask(question)
    return "refused" if found is None else "right" if name in found else "wrong"


def _state(given: Given, pipeline: Pipeline) -> tuple[str, dict[str, float]]:
    probes = given.probes()
    answers = pipeline.search([question for _, question in probes])
    lost = sum(name not in found for (name, _), found in zip(probes, answers, strict=True))
    doubled = sum(len(found) != len(set(found)) for found in answers)
    outcome = f"{lost} of {len(probes)} lost, {doubled} answers with duplicates"
    return outcome, {"lost": lost, "duplicates": doubled}


def _edition(given: Given, number: int) -> Documents:
    """The corpus with another edition of every file that no probe asks for."""
    own = set(given.own)
    return {
        name: text if name in own else f"{text} Edition {number}."
        for name, text in given.texts.items()
    }


def _failed(code: int) -> str:
    return "" if code == 0 else f"exit {code}; "
