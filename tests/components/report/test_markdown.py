"""The page of an evaluation."""

from __future__ import annotations

from mrag_pipeline.report.markdown import page
from mrag_pipeline.report.paper import PaperFigures, published
from tests.support.made_evaluation import evaluation

THEIRS = PaperFigures("toy", "Giant (7B)", {"standard": 0.111, "fusion": 0.222}, {})


def cells(text: str, first: str) -> list[list[str]]:
    """The cells of the table rows whose first cell is `first`."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() == first]


def test_the_page_shows_the_figures_made_by_hand() -> None:
    """Standard has 0.25 at k = n and 1 at k = 3; aspect is clearly above it, by 0.75."""
    text = page(evaluation(), (), "mrag evaluate toy", ())
    standard, aspect = cells(text, "standard")[0], cells(text, "aspect")[0]
    assert standard == ["standard", "0.250 [0.250, 0.250]", "1.000 [1.000, 1.000]"]
    assert aspect[3] == "0.750 [0.750, 0.750]"
    assert ["standard", "0.000", "0.500", "**0.250**"] in cells(text, "standard")
    assert "`mrag evaluate toy`" in text


def test_the_papers_figures_are_marked_as_theirs_with_their_model() -> None:
    """A strategy that only they measured has an empty cell in our column."""
    text = page(evaluation(), (THEIRS,), "", ())
    assert "*theirs, published*: Giant (7B)" in text
    assert "**ours, measured here**: tiny" in text
    assert ["standard", "0.250", "0.111"] in cells(text, "standard")
    assert ["fusion", "", "0.222"] in cells(text, "fusion")


def test_without_published_figures_the_page_does_not_mention_the_paper() -> None:
    """The user's own queries have none."""
    assert "theirs" not in page(evaluation(), (), "", ())


def test_flaws_are_on_the_page() -> None:
    """They stand before the figures."""
    text = page(evaluation(), (), "", ())
    assert text.index("1 topics without a file (such as lost | topic)") < text.index("## Success")


def test_an_unclear_difference_is_marked() -> None:
    """At k = 3 both find everything: the difference is 0, and so its interval includes 0."""
    text = page(evaluation(("3", "n")), (), "", ())
    assert cells(text, "aspect")[0][3] == "0.000 [0.000, 0.000] (unclear)"


def test_a_cell_cannot_break_its_table() -> None:
    """A vertical bar in a name would start another cell."""
    odd = PaperFigures("toy", "A|B", {"standard": 0.1}, {})
    [head] = cells(page(evaluation(), (odd,), "", ()), "success ratio, k = n, mean")
    assert head[1:] == ["**ours, measured here**: tiny", "*theirs, published*: A/B"]


def test_the_published_means_need_no_file() -> None:
    """wikipedia-v1 with the paper's model: 0.431, 0.513 and 0.605."""
    [sfr, _] = published("wikipedia-v1")
    ratios = sfr.success_ratio
    assert (ratios["standard"], ratios["mrag"], ratios["fusion-mrag"]) == (0.431, 0.513, 0.605)
    assert "SFR" in sfr.model
    assert published("wikipedia-v2") == ()


def test_a_set_that_counts_queries_alike_has_no_columns_of_aspects() -> None:
    """As the field's sets do: one mean, over the queries, and the page says so."""
    text = page(evaluation(by_aspects=False), (), "", ())
    assert "Means are over the queries." in text
    assert "By number of aspects" not in text
    assert "By number of aspects" in page(evaluation(), (), "", ())


def test_what_reranking_buys_and_costs_is_on_the_page() -> None:
    """Each strategy beside itself, with the interval of the difference."""
    text = page(evaluation(is_reranked=True), (), "", ())
    reranked = text[text.index("## Reranked by judge-v1") :]
    assert cells(reranked, "standard")[0] == [
        *("standard", "0.250 [0.250, 0.250]"),
        *("1.000 [1.000, 1.000]", "0.750 [0.750, 0.750]"),
    ]
    assert cells(reranked, "aspect")[0][3] == "0.000 [0.000, 0.000] (unclear)"
    assert cells(reranked, "aspect")[-1] == ["aspect", "48.5", "400.1"]
    assert "Reranked" not in page(evaluation(), (), "", ())
