"""What a study of a version's heads found: plain values, written as JSON, drawn elsewhere.

Each head is measured beside the *pieces*: the standard vector cut into as many pieces as there are
heads. Pieces differ from each other too, without being anybody's aspects; so a head shows an
aspect only by what pieces do not do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mrag_pipeline.domain.shared_words import WordPreference
from mrag_pipeline.domain.success import Interval

FORMAT = 1  # of the JSON; a reader of format 1 can ignore fields that it does not know

Kind = Literal["head", "piece", "standard", "lexical"]
Verdict = Literal["more than pieces", "like pieces", "chance", "too little"]


@dataclass(frozen=True, slots=True)
class HubDocument:
    """The document that a voter finds for more chunks than any other."""

    document_id: str
    title: str
    share: float  # of the sampled chunks that have it as a neighbour
    skewness: float  # of how many chunks have a document as a neighbour; 0: even


@dataclass(frozen=True, slots=True)
class VoterStudy:
    """One voter: a head, a piece, the standard vector, or BM25."""

    name: str
    kind: Kind
    only_found: float  # share of its neighbours that no other voter has
    only_found_pairs: int
    agreement: float  # of a chunk's words with those of its neighbours, 0 to 1
    agreement_only_found: float | None  # the same, of neighbours that no other voter has
    agreement_dealt: float  # the same, of its own lists dealt to other chunks: chance
    above_chance: Interval | None  # only found minus dealt
    with_standard: float  # Jaccard index with the standard vector's neighbours
    repeatability: float | None  # of its preferences for words, in two halves of the sample
    preference: float | None  # how large those are, noise taken off
    hub: HubDocument


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A chunk as an example shows it."""

    chunk_id: int
    document_id: str
    title: str
    text: str  # shortened


@dataclass(frozen=True, slots=True)
class ExamplePair:
    """Two chunks that only one head calls near."""

    chunk: Excerpt
    neighbour: Excerpt
    rank: int  # of the neighbour in the head's list, from 1
    cosine: float  # in the head
    standard_cosine: float
    words: tuple[str, ...]  # shared by the two, and hardly with other voters' neighbours


@dataclass(frozen=True, slots=True)
class HeadDetails:
    """What only heads have: weight, cost, words and examples."""

    name: str
    importance: float
    weight: float  # share of all heads' importance
    bytes: int  # of its ids and vectors, before what a store adds
    search_ms: float  # of one query among many in one call, measured in this study
    keeps: tuple[WordPreference, ...]
    passes_over: tuple[WordPreference, ...]
    examples: tuple[ExamplePair, ...]


@dataclass(frozen=True, slots=True)
class GroupStudy:
    """All heads, or all pieces: means over their voters, and how different they are."""

    num_voters: int
    overlap: float  # mean Jaccard index of two of them
    effective_number: float  # of different voters, by their neighbours
    alignment: float  # mean CKA of two of them
    effective_number_by_alignment: float
    only_found: float
    above_chance: Interval | None
    num_above_chance: int  # voters whose interval is above 0
    repeatability: float | None
    preference: float | None
    recognised: float | None  # share of voters told by their words in another half of the sample


@dataclass(frozen=True, slots=True)
class HeadsMinusPieces:
    """Differences of the two groups; None where there was too little to measure."""

    overlap: Interval
    only_found: Interval
    above_chance: Interval | None
    repeatability: Interval | None  # resampled over voters, the others over chunks
    preference: Interval | None  # the same


@dataclass(frozen=True, slots=True)
class FieldStudy:
    """How pure the neighbours are by one metadata field."""

    field: str
    num_chunks: int  # sampled ones that have it
    num_values: int
    purity: Mapping[str, Interval]  # by voter: share of neighbours with the chunk's own value
    chance: float  # mean purity of the heads' lists dealt to other chunks
    spread_of_heads: float  # standard deviation over heads, noise taken off
    spread_of_pieces: float
    leader: str  # the head with the highest purity in one half of the sample
    lead: Interval  # its purity in the other half minus the mean of the other heads
    lead_over_pieces: Interval  # minus the best piece of the first half


@dataclass(frozen=True, slots=True)
class Drift:
    """How the neighbours of the same chunks differ between two versions."""

    version: str  # the other one
    same_encoder: bool
    num_chunks: int  # sampled ones that both versions have
    num_missing: int  # sampled ones that the other version lacks, or has with another text
    only_here: float  # share of neighbours whose document the other version lacks or has changed
    only_there: float  # the reverse
    overlap: Mapping[str, Interval]  # by voter: share of neighbours kept
    mean_of_heads: Interval | None  # None if the versions share no head
    heads_here: tuple[str, ...]
    heads_there: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]  # the same share for each head here and each there


@dataclass(frozen=True, slots=True)
class HeadStudy:
    """All that `mrag heads` reports."""

    index: str
    version: str
    model: str
    num_documents: int
    num_chunks: int
    sample: int  # chunks
    seed: int
    neighbours: int  # of each chunk, k
    voters: tuple[VoterStudy, ...]  # heads, standard, lexical if there is one, pieces
    heads: tuple[HeadDetails, ...]
    overlap_voters: tuple[str, ...]  # the order of the matrix: heads, standard, lexical
    overlap: tuple[tuple[float, ...], ...]
    groups: Mapping[str, GroupStudy]  # "heads" and "pieces"
    difference: HeadsMinusPieces
    fields: tuple[FieldStudy, ...]
    drift: Drift | None
    verdict: Verdict
    conclusion: str

    def voter(self, name: str) -> VoterStudy:
        """The study of one voter."""
        return next(voter for voter in self.voters if voter.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the format's number first."""
        return {"format": FORMAT, **asdict(self)}


def verdict_of(heads: GroupStudy, difference: HeadsMinusPieces) -> Verdict:
    """What the figures say of heads as aspects.

    `chance`: for half of the heads or more, what only they find shares no more words than chance.
    `more than pieces`: their preferences for words are more their own than those of pieces, with
    the interval above 0. `like pieces`: they are not.
    """
    if heads.above_chance is None or difference.repeatability is None:
        return "too little"
    if 2 * heads.num_above_chance <= heads.num_voters:
        return "chance"
    return "more than pieces" if difference.repeatability.low > 0 else "like pieces"


def conclusion_of(
    verdict: Verdict, heads: GroupStudy, pieces: GroupStudy, difference: HeadsMinusPieces
) -> str:
    """The verdict as sentences with their figures."""
    if verdict == "too little":
        return (
            "Too little to say: too few words repeat in the sample, or no head finds anything "
            "alone; take a larger --sample."
        )
    if verdict == "chance":
        return (
            f"No aspects: for {heads.num_voters - heads.num_above_chance} of {heads.num_voters} "
            "heads what only they find shares no more words with a chunk than chance does."
        )
    real = (
        f"for {heads.num_above_chance} of {heads.num_voters} heads (and {pieces.num_above_chance} "
        "pieces of the standard vector) what only they find shares more words than chance"
    )
    own = (
        f"preferences for words repeat at {heads.repeatability or 0:.2f}, those of pieces at "
        f"{pieces.repeatability or 0:.2f}, difference {difference.repeatability}"
    )
    if verdict == "like pieces":
        return (
            f"No proof of aspects, heads do what any cut of the standard vector does: {real}; "
            f"heads' {own}."
        )
    if difference.overlap.low > 0:
        apart = "yet heads overlap more with each other than pieces do"
    elif difference.overlap.high < 0:
        apart = "and heads overlap less with each other than pieces do"
    else:
        apart = "heads overlap with each other as much as pieces do"
    return f"Heads have preferences of their own: {real}; their {own}; {apart}."
