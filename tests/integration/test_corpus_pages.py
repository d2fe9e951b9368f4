"""HTML as browsers read it: the standard's parser, the main text, linear time."""

from __future__ import annotations

import time

import pytest

from mrag_pipeline.corpus.formats.page_text import page_text

VOLCANO = "The volcano erupted in spring.\n\nAsh fell on the vineyards."


@pytest.mark.parametrize(
    "page",
    [
        "<!doctype html><html lang=en><head><title>T</title><meta charset=utf-8><body>"
        "<p>The volcano erupted in spring.<p>Ash fell on the vineyards.",
        "<title>T</title><p>The volcano erupted in spring.<p>Ash fell on the vineyards.",
        "<head><title>T</title><p>The volcano erupted in spring.</head><p>Ash fell on the "
        "vineyards.</body></html>",
        "<TITLE>T</TITLE><DIV>The volcano erupted in <B><I>spring.</B></I></DIV>Ash fell on the\n"
        "vineyards.</P></DIV>",
        "<html><body><p>The volcano <!-- > --> erupted in spring.<table><p>Ash fell on the "
        "vineyards.</table><head><title>T</title>",
    ],
)
def test_omitted_and_misplaced_tags_are_what_browsers_make_of_them(page: str) -> None:
    """Start and end tags that the standard lets out, or that stand in a wrong place."""
    title, text = page_text(page)
    assert title == "T"
    assert sorted(text.split("\n\n")) == sorted(VOLCANO.split("\n\n"))


@pytest.mark.parametrize(
    "menu",
    [
        "<nav><a href=/>Home</a> <a href=/a>About us</a></nav>",
        "<div class='main-menu'><ul><li><a>Home</a><li><a>News</a><li><a>Shop</a></ul></div>",
        "<ul role=navigation><li><a>Home</a></ul>",
        "<header><ul><li><a>Home</a><li><a>News</a><li><a>Contact</a></ul></header>",
        "<footer>Copyright 2024, all rights reserved</footer>",
        "<p hidden>Home</p><div style='display: none'>Menu</div><dialog>Cookies?</dialog>",
        "<script>menu()</script><noscript><p>Turn it on<p></noscript><template>x</template>",
        "<select><option>Home<option>About</select>",
    ],
)
def test_a_pages_text_is_without_its_menus(menu: str) -> None:
    """Navigation, the page's footer, lists of links that are named so, what is not shown."""
    page = f"<body>{menu}<article><header><h1>Ash</h1></header><p>It <a>fell</a>.</article>{menu}"
    assert page_text(page) == ("Ash", "Ash\n\nIt fell.")


def test_one_main_is_the_text() -> None:
    """That is what the element means; without it, or with several, the body is."""
    assert page_text("<p>Banner<main><h1>A</h1><p>x</main><aside>y</aside>") == ("A", "A\n\nx")
    assert page_text("<p>Banner<main>x</main><main>y</main>")[1] == "Banner\n\nx\n\ny"


@pytest.mark.parametrize(
    "page", ["<nav><a>Only</a> <a>links</a></nav>", "<footer>Only links</footer>"]
)
def test_a_page_of_menus_only_keeps_them(page: str) -> None:
    """No page is emptied."""
    assert page_text(page)[1] == "Only links"


def test_lists_of_links_in_the_text_stay() -> None:
    """A list of sources is no menu."""
    page = "<h2>See also</h2><ul><li><a>Ash</a><li><a>Lava</a><li><a>Tuff</a></ul>"
    assert page_text(page)[1] == "See also\n\nAsh\nLava\nTuff"


BIG = {
    "spans": "<span> </span>" * 160_000,
    "spaces": "<p>" + " \t" * 1_100_000 + "x",
    "line ends": "<p>x" + " \n \t" * 500_000 + "y",
    "paragraphs": "<p>word word " * 160_000,
    "breaks": "<br>" * 500_000 + "x",
    "typed": "<pre>" + "<b>\n</b>" * 200_000 + "</pre>x",
    "noscripts": "<noscript>" * 200_000,
    "comments": "<!-- -" * 300_000,
    "attributes": "<p " + "a " * 20_000 + ">x",
}


@pytest.mark.parametrize("kind", BIG)
def test_a_large_page_of_little_is_read_within_the_limit(kind: str) -> None:
    """A parser or an expression that is quadratic needs far more: spans took 49 s."""
    started = time.process_time()
    page_text(BIG[kind])
    assert time.process_time() - started < 10.0
