"""A study of heads as one page of HTML that needs nothing from elsewhere."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from importlib import resources

from mrag_pipeline.domain.head_study import (
    Drift,
    ExamplePair,
    Excerpt,
    FieldStudy,
    HeadDetails,
    HeadStudy,
    VoterStudy,
)
from mrag_pipeline.domain.shared_words import WordPreference
from mrag_pipeline.domain.success import Interval
from mrag_pipeline.report.html_elements import data, element, heat_map, page, table

_TERMS = (
    (
        "neighbours",
        "The nearest other documents of a sampled chunk, each by its nearest chunk, as a search "
        "with the chunk's own stored vector finds them.",
    ),
    (
        "only it",
        "The share of a voter's neighbours that no other head, nor the standard vector, nor BM25 "
        "has for the same chunk. Noise would have most, so this alone proves nothing.",
    ),
    (
        "above chance",
        "How many more words a chunk shares with neighbours that only this voter finds than with "
        "the same voter's lists dealt to other chunks; rare words count more. BM25's neighbours "
        "are not among them, so this is on the strict side. An interval above 0 means that they "
        "are related.",
    ),
    (
        "pieces",
        "The standard vector cut into as many pieces as there are heads, each searched by itself. "
        "They differ from each other and find real neighbours without being anybody's aspects: "
        "heads have to do what pieces do not.",
    ),
    (
        "repeats",
        "A voter prefers a word if its neighbours keep it more often than the other voters' do. "
        "This is the correlation of its preferences in one half of the sample with those in the "
        "other, mean of 20 splits: 0 is noise, 1 all its own.",
    ),
    (
        "different voters",
        "The participation ratio of the eigenvalues of the overlaps: as many as there are if no "
        "two share a neighbour, 1 if all have the same. CKA looks at all distances instead.",
    ),
    (
        "hub",
        "The share of sampled chunks that have one and the same document, the voter's most "
        "frequent, as a neighbour.",
    ),
)


def heads_page(study: HeadStudy, command: str) -> str:
    """The whole page.

    Args:
        command: the command that makes it again.
    """
    style = resources.files("mrag_pipeline.report").joinpath("heads.css").read_text("utf-8")
    title = f"Heads of {study.index} {study.version}"
    parts = [
        element("h1", "What the heads of ", data(study.index), f" {study.version} separate"),
        element("p", study.conclusion, class_="lead"),
        element(
            "p",
            f"{len(study.heads)} heads of ", data(study.model),
            f", {study.num_documents:,} documents in {study.num_chunks:,} chunks. Studied: the "
            f"{study.neighbours} nearest documents of {study.sample:,} chunks, seed {study.seed}. "
            "Intervals hold 95 % of the bootstrap resamples of the chunks, or of the voters where "
            "a figure is a voter's.",
            class_="soft",
        ),
        *_groups(study),
        *_overlap(study),
        *_table(study),
        *(part for field in study.fields for part in _field(field, study)),
        *([] if study.drift is None else _drift(study.drift, study)),
        *_heads(study),
        element("h2", "What the words mean"),
        element(
            "dl", *(one for name, text in _TERMS
                    for one in (element("dt", name), element("dd", text)))
        ),
        element("p", "Made by ", element("code", command), class_="soft"),
    ]  # fmt: skip
    return page(title, style, *parts)


def _groups(study: HeadStudy) -> Iterable[ET.Element]:
    heads, pieces, gap = study.groups["heads"], study.groups["pieces"], study.difference
    of = f" of {heads.num_voters}"
    rows = [
        ("only it finds", f"{heads.only_found:.3f}", f"{pieces.only_found:.3f}",
         str(gap.only_found), "of its neighbours; noise would have more"),
        ("of that, above chance", _known(heads.above_chance), _known(pieces.above_chance),
         _known(gap.above_chance), "higher: what it finds alone is more related"),
        ("voters above chance", f"{heads.num_above_chance}{of}", f"{pieces.num_above_chance}{of}",
         "", "whose interval is above 0"),
        ("overlap of two", f"{heads.overlap:.3f}", f"{pieces.overlap:.3f}", str(gap.overlap),
         "Jaccard index; lower: they complement each other more"),
        ("different voters", f"{heads.effective_number:.1f}{of}",
         f"{pieces.effective_number:.1f}{of}", "", "by their neighbours"),
        ("the same by CKA", f"{heads.effective_number_by_alignment:.1f}{of}",
         f"{pieces.effective_number_by_alignment:.1f}{of}", "", "by all distances"),
        ("preferences repeat", _figure(heads.repeatability), _figure(pieces.repeatability),
         _known(gap.repeatability), "higher: more of what it prefers is its own, less is noise"),
        ("size of a preference", _figure(heads.preference), _figure(pieces.preference),
         _known(gap.preference), "share of neighbours by which it departs from the others"),
        ("told by their words", _figure(heads.recognised), _figure(pieces.recognised), "",
         f"in another half of the sample; by chance {1 / heads.num_voters:.2f}"),
    ]  # fmt: skip
    yield element("h2", "Heads beside pieces of the standard vector")
    yield element(
        "p",
        "If heads were no more than any cut of the embedding, both columns would be alike.",
    )
    yield table(
        "Means over the voters of each kind; heads minus pieces with 95 % intervals",
        ("", "heads", "pieces", "difference", "read it as"),
        rows,
        class_="plain",
    )


def _overlap(study: HeadStudy) -> Iterable[ET.Element]:
    yield element("h2", "How heads complement each other")
    yield heat_map(
        "Mean Jaccard index of two voters' neighbours: darker shares more",
        study.overlap_voters,
        [_short(name) for name in study.overlap_voters],
        study.overlap,
        skip_diagonal=True,
    )


def _table(study: HeadStudy) -> Iterable[ET.Element]:
    details = {head.name: head for head in study.heads}
    yield element("h2", "Head by head")
    header = ("", "importance", "weight", "only it", "above chance", "all agree", "as standard",
              "hub", "repeats", "kB", "ms")  # fmt: skip
    yield table(
        "All agree: words shared with all its neighbours. As standard: overlap with the standard "
        "vector's. kB: ids and vectors. ms: one query of many in one call, in this study",
        header,
        (_row(own, details.get(own.name)) for own in study.voters if own.kind != "piece"),
    )
    yield element(
        "details",
        element("summary", "piece by piece, to compare"),
        table(
            "The same of pieces of the standard vector",
            header,
            (_row(own, None) for own in study.voters if own.kind == "piece"),
        ),
    )


def _row(voter: VoterStudy, head: HeadDetails | None) -> tuple[str, ...]:
    return (
        voter.name,
        "" if head is None else f"{head.importance:.3f}",
        "" if head is None else f"{head.weight:.3f}",
        f"{voter.only_found:.2f}",
        _known(voter.above_chance),
        f"{voter.agreement:.3f}",
        f"{voter.with_standard:.2f}",
        f"{voter.hub.share:.2f}",
        _figure(voter.repeatability),
        "" if head is None else f"{head.bytes / 1000:,.0f}",
        "" if head is None else f"{head.search_ms:.1f}",
    )


def _field(field: FieldStudy, study: HeadStudy) -> Iterable[ET.Element]:
    kinds = {voter.name: voter.kind for voter in study.voters}
    yield element("h2", "Neighbours by ", data(field.field))
    yield element(
        "p",
        f"{field.num_chunks:,} sampled chunks have it, with {field.num_values:,} values. Chosen "
        f"by one half of them, {field.leader} keeps it best; in the other half it is "
        f"{_known(field.lead)} above the other heads, and {_known(field.lead_over_pieces)} above "
        f"the best piece. Noise taken off, heads differ from each other by "
        f"{field.spread_of_heads:.3f}, pieces by {field.spread_of_pieces:.3f}.",
    )
    yield table(
        f"Share of neighbours with the chunk's own value; by chance {field.chance:.3f}",
        ("", "kind", "share"),
        ((name, kinds[name], _known(own)) for name, own in field.purity.items()),
    )


def _drift(drift: Drift, study: HeadStudy) -> Iterable[ET.Element]:
    encoder = "the same encoder" if drift.same_encoder else "another encoder"
    yield element("h2", f"Since {drift.version}")
    yield element(
        "p",
        f"{drift.version} was built by {encoder}. Of the neighbours it keeps "
        f"{_known(drift.mean_of_heads) or 'none to compare'} on the mean of the heads that both "
        f"have. {drift.num_chunks:,} sampled chunks are in both versions, {drift.num_missing:,} "
        f"are not; {drift.only_here:.1%} of the neighbours here and {drift.only_there:.1%} of "
        "those there are documents that the other lacks or has changed, which are left out.",
    )
    yield table(
        "Share of neighbours that both versions find",
        ("", "kept"),
        ((name, _known(own)) for name, own in drift.overlap.items()),
    )
    yield heat_map(
        f"Each head of {study.version} (rows) with each of {drift.version} (columns): a head that "
        "is the same is dark on the diagonal",
        drift.heads_here,
        [_short(name) for name in drift.heads_there],
        drift.matrix,
    )


def _heads(study: HeadStudy) -> Iterable[ET.Element]:
    yield element("h2", "What each head sees")
    yield element(
        "p",
        "Words that its neighbours keep more often than those of the other heads (with the shares "
        "of both), words that it passes over, and pairs of chunks that only this head calls near, "
        "among its three nearest. The pairs are drawn by the seed, not chosen: some are noise.",
    )
    for head in study.heads:
        voter = study.voter(head.name)
        hub = voter.hub
        parts = [
            element("h3", head.name),
            element(
                "p",
                f"weight {head.weight:.3f}; {voter.only_found:.0%} of its neighbours are its own. "
                f"Its hub, near to {hub.share:.0%} of the chunks: ",
                data(hub.title or hub.document_id),
                f"; skewness {hub.skewness:.1f}."
                + ("" if _is_above_chance(voter) else " What only it finds is not above chance."),
                class_="facts",
            ),
            *_words("keeps", head.keeps),
            *_words("passes over", head.passes_over),
        ]
        if head.examples:
            parts.append(element("h4", "only it calls these near"))
            parts += [_pair(example) for example in head.examples]
        yield element("section", *parts, class_="head")


def _words(title: str, preferences: Iterable[WordPreference]) -> Iterable[ET.Element]:
    chips = [
        element(
            "span",
            data(own.word),
            element("small", f" {own.kept:.0%} / {own.kept_by_others:.0%}"),
            class_="word",
            title=f"{own.chunks} chunks; strength {own.strength:.1f}",
        )
        for own in preferences
    ]
    if chips:
        yield element("h4", title)
        yield element("div", *chips)


def _pair(example: ExamplePair) -> ET.Element:
    words = ", ".join(example.words)
    return element(
        "div",
        _excerpt(example.chunk),
        _excerpt(example.neighbour),
        element(
            "div",
            f"rank {example.rank}; cosine {example.cosine:.2f} here, "
            f"{example.standard_cosine:.2f} by the standard vector; ",
            *(["words of their own: ", data(words)] if words else ["no words of their own"]),
            class_="note",
        ),
        class_="pair",
    )


def _excerpt(excerpt: Excerpt) -> ET.Element:
    name = excerpt.title or excerpt.document_id
    return element("div", element("b", data(name)), element("p", data(excerpt.text)))


def _is_above_chance(voter: VoterStudy) -> bool:
    return voter.above_chance is not None and voter.above_chance.low > 0


def _known(interval: Interval | None) -> str:
    return "" if interval is None else str(interval)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _short(name: str) -> str:
    """`h07` for `l05_h07`, where a column is narrow; another name as it is."""
    return name.rpartition("_")[2] if name.startswith("l") and "_h" in name else name[:8]
