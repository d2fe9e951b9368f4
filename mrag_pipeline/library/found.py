"""An answer that a notebook shows: hits, aspects in colours, and who voted for what."""

from __future__ import annotations

from html import escape

from mrag_pipeline.wire.schemas import SearchAnswer, SearchHit

COLOURS = {"found": "#2a7f3f", "weak": "#a86a00", "nothing here": "#b3261e"}
SNIPPET_CHARS = 240
_CELL = "padding:2px 6px;text-align:left;vertical-align:top"


class Found(SearchAnswer):
    """A SearchAnswer that renders itself."""

    @classmethod
    def of(cls, answer: SearchAnswer) -> Found:
        """The answer, field by field."""
        return cls.model_construct(**dict(answer))

    def _repr_html_(self) -> str:
        """A table of hits, a line of aspects, and a heat map: rows are hits, columns voters."""
        hits = "".join(_hit(rank, hit) for rank, hit in enumerate(self.hits, 1))
        aspects = "".join(
            f'<span style="color:{COLOURS.get(aspect.verdict or "", "inherit")};margin-right:1em">'
            f"{escape(aspect.text)}: {escape(aspect.verdict or 'unknown')}</span>"
            for aspect in self.aspects
        )
        warnings = "".join(f"<div>warning: {escape(text)}</div>" for text in self.warnings)
        about = f"{self.strategy} on {self.version}: {len(self.windows)} windows"
        return (
            f"{warnings}<table>{hits or '<tr><td>nothing found</td></tr>'}</table>"
            f"<div>{aspects}</div>{self._heat_map()}<small>{escape(about)}</small>"
        )

    def _heat_map(self) -> str:
        top = max((vote for hit in self.hits for vote in hit.votes_by_voter), default=0.0)
        if top <= 0:
            return ""
        names = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in self.voters)
        rows = "".join(
            f'<tr><th style="{_CELL}">{rank}</th>'
            + "".join(_heat(vote, top) for vote in hit.votes_by_voter)
            + "</tr>"
            for rank, hit in enumerate(self.hits, 1)
        )
        return f'<table style="font-size:70%"><tr><th></th>{names}</tr>{rows}</table>'


def _heat(vote: float, top: float) -> str:
    shade = f"background:rgba(31,119,180,{vote / top:.2f})"
    return f'<td style="{shade};min-width:2em" title="{vote:.4g}">&nbsp;</td>'


def _hit(rank: int, hit: SearchHit) -> str:
    text = " ".join(hit.text.split())
    shown = text if len(text) <= SNIPPET_CHARS else f"{text[: SNIPPET_CHARS - 3]}..."
    cosine = "" if hit.cosine is None else f"{hit.cosine:.2f}"
    title = escape(hit.title or hit.document_id)
    return (
        f'<tr><td style="{_CELL}">{rank}</td><td style="{_CELL}"><b>{title}</b> '
        f"<small>{escape(hit.document_id)}</small><br>{escape(shown)}</td>"
        f'<td style="{_CELL}">{cosine}</td></tr>'
    )
