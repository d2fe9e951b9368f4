"""How `mrag search` shows answers: a list, two columns to compare, or plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mrag_pipeline.cli.terminal import line, out

if TYPE_CHECKING:
    from mrag_pipeline.wire.schemas import SearchAnswer, SearchHit

SNIPPET_CHARS = 160
BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"found": "green", "weak": "yellow", "nothing here": "red"}


def listed(answer: SearchAnswer, by: str = "") -> None:
    """Prints a list of hits, each with its scores, a passage and a bar for each voter.

    Args:
        by: who answered, if not this process.
    """
    _warn(answer)
    if not answer.hits:
        out.print("nothing found")
        _verdicts(answer)
        return
    for rank, hit in enumerate(answer.hits, 1):
        about = f"{hit.document_id}  {_scores(hit)}"
        out.print(
            line(("bold", f"{rank:>2}. {hit.title or hit.document_id}"), "  ", ("dim", about))
        )
        bar, window = _bar(hit), _strongest_window(answer, hit)
        shown = line(f"{_snippet(hit.text)}\n", ("cyan", bar), " ", ("dim", window))
        out.print(Padding(shown, (0, 0, 0, 4)))
    _verdicts(answer)
    times = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in answer.seconds.items())
    number = len(answer.windows)
    out.print(
        f"{answer.strategy} on {answer.version}: {number} window{'s' * (number != 1)}, "
        f"bars are {answer.voters[0]} to {answer.voters[-1]}{_order(answer)}; {times}"
        f"{f'; asked {by}' if by else ''}",
        style="dim",
    )


def beside(answers: list[SearchAnswer]) -> None:
    """Prints the answers of several strategies to one query, a column for each."""
    _warn(*answers)
    table = Table(*(f"{answer.strategy}" for answer in answers), expand=True)
    longest = max(len(answer.hits) for answer in answers)
    for rank in range(longest):
        cells: list[str | Text] = []
        for answer in answers:
            if rank >= len(answer.hits):
                cells.append("")
                continue
            hit = answer.hits[rank]
            title = f"{rank + 1}. {hit.title or hit.document_id}\n"
            cells.append(line(("bold", title), ("dim", _snippet(hit.text, 90))))
        table.add_row(*cells)
    out.print(table)
    _verdicts(answers[-1])


def plain(answer: SearchAnswer, query: str) -> dict[str, Any]:
    """The answer as JSON values."""
    sent = answer.model_dump(mode="json")
    hit_fields = (
        *("document_id", "title", "chunk_id", "text", "metadata", "cosine", "bm25"),
        *("vote", "vote_share", "aspects", "votes_by_voter", "votes_by_window"),
        *("rerank_score", "rerank_window"),
    )
    return {
        "query": query,
        "strategy": answer.strategy,
        "version": answer.version,
        "windows": [window.text for window in answer.windows],
        "voters": answer.voters,
        "reranker": answer.reranker,
        "warnings": answer.warnings,
        "hits": [
            {name: hit[name] for name in hit_fields} | {"chunk_id": int(hit["chunk_id"])}
            for hit in sent["hits"]
        ],
        "aspects": sent["aspects"],
        "levels": sent["levels"],
        "num_searches": answer.num_searches,
        "seconds": answer.seconds,
    }


def _order(answer: SearchAnswer) -> str:
    return f"; ordered by {answer.reranker}" if answer.reranker else ""


def _scores(hit: SearchHit) -> str:
    """The hit's scores on one line; what is not known is left out."""
    share = "" if hit.vote_share is None else f" ({hit.vote_share:.0%})"
    scores = [f"vote {hit.vote:.3g}{share}"]
    if hit.cosine is not None:
        scores.append(f"cosine {hit.cosine:.2f}")
    if hit.bm25 is not None:
        scores.append(f"bm25 {hit.bm25:.1f}")
    if hit.rerank_score is not None:
        scores.append(f"reranked {hit.rerank_score:.3g}")
    return "  ".join(scores)


def _verdicts(answer: SearchAnswer) -> None:
    """What the version has on each aspect; nothing if it says nothing."""
    for aspect in answer.aspects:
        if aspect.verdict is not None:
            near = "" if aspect.nearness is None else f"{aspect.nearness:.2f}"
            verdict = (COLOURS[aspect.verdict], f"{aspect.verdict:>12}")
            out.print(line(verdict, ("dim", f" {near:>5}  "), _snippet(aspect.text, 100)))


def _warn(*answers: SearchAnswer) -> None:
    for warning in dict.fromkeys(warning for answer in answers for warning in answer.warnings):
        out.print(line(("yellow", "warning"), f" {warning}"))


def _snippet(text: str, chars: int = SNIPPET_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else line[: chars - 3].rstrip() + "..."


def _bar(hit: SearchHit) -> str:
    """One character for each voter, as high as its share of the hit's strongest voter."""
    top = max(hit.votes_by_voter, default=0.0) or 1.0
    return "".join(BARS[round(votes / top * (len(BARS) - 1))] for votes in hit.votes_by_voter)


def _strongest_window(answer: SearchAnswer, hit: SearchHit) -> str:
    """The window that gave the hit most votes, and how many others voted for it."""
    others = sum(votes > 0 for votes in hit.votes_by_window) - 1
    more = f" and {others} more window{'s' * (others != 1)}" if others > 0 else ""
    window = answer.windows[hit.window]
    return f"for “{_snippet(window.text, 60)}”{more}" if len(answer.windows) > 1 else ""
