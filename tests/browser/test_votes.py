"""The heat maps: tables that can be pointed at, walked through and read out."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.browser_page import Opened, asked
from tests.support.staged_page import Stage


def test_pointing_at_a_cell_shows_its_value(stage: Stage, open_page: Opened) -> None:
    """Who gave which hit how much, beside the cell and only while it is pointed at."""
    page = open_page(stage.url)
    asked(page)
    tip = page.locator("#tip")
    expect(tip).to_be_hidden()
    page.locator("#heat-voters tbody tr").nth(1).locator("td").nth(0).hover()
    expect(tip).to_have_text("l05_h01 gave hit 1, Fetch: 1.50, 38 % of what it got")
    page.locator("#heat-windows tbody tr").nth(2).locator("td").nth(2).hover()
    expect(tip).to_have_text("aspect 3 gave hit 3, Store: 1.50, 75 % of what it got")
    page.locator("#votes-title").hover()
    expect(tip).to_be_hidden()


def test_a_table_is_one_tab_stop_and_arrows_walk_it(stage: Stage, open_page: Opened) -> None:
    """The cell with the focus shows its value; edges hold; Tab goes on to what is after."""
    page = open_page(stage.url)
    asked(page)
    tip = page.locator("#tip")
    page.locator("#heat-voters tbody td").first.focus()
    expect(tip).to_have_text("l05_h00 gave hit 1, Fetch: 2.50, 63 % of what it got")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(tip).to_have_text("standard gave hit 2, Parse: < 0.01, < 1 % of what it got")
    page.keyboard.press("End")
    expect(tip).to_have_text("standard gave hit 3, Store: 0, 0 % of what it got")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    assert page.locator('#heat-voters tbody td[tabindex="0"]').count() == 1
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('#heat-voters')")


def test_the_values_can_be_read_out(stage: Stage, open_page: Opened) -> None:
    """A table with a caption, headings of columns and rows, and a value in every cell."""
    page = open_page(stage.url)
    asked(page)
    table = page.get_by_role("table", name="Voters by hits")
    assert table.get_by_role("columnheader").count() == 3
    expect(table.get_by_role("rowheader", name="l05_h01 1.25")).to_be_visible()
    cells = table.locator("tbody tr").nth(1).get_by_role("cell")
    assert cells.all_text_contents() == ["1.50 (38 %)", "2.00 (100 %)", "0 (0 %)"]


def test_a_larger_vote_is_a_stronger_colour(stage: Stage, open_page: Opened) -> None:
    """Heat rises with the vote: the largest vote gets full heat, no vote gets none."""
    page = open_page(stage.url)
    asked(page)
    heat = page.locator("#heat-voters tbody td").evaluate_all(
        "(cells) => cells.map((cell) => parseFloat(cell.style.getPropertyValue('--heat')))"
    )
    # Rows are voters, columns are hits; the largest vote is 2.5.
    assert heat == [100.0, 0.0, 89.4, 77.5, 89.4, 0.0, 0.0, 3.5, 0.0]


def test_a_column_leads_to_its_hit(stage: Stage, open_page: Opened) -> None:
    """The number over a column moves there, and leaves the question in the address."""
    page = open_page(stage.url)
    asked(page)
    before = page.url
    page.locator("#heat-voters thead a").nth(2).click()
    expect(page.locator("#hit-3")).to_be_focused()
    expect(page.locator("#hit-3")).to_be_in_viewport()
    assert page.url == before


def test_a_chip_shows_one_aspect(stage: Stage, open_page: Opened) -> None:
    """Pointed at, its words light up; pressed, other hits step back until it is let go."""
    page = open_page(stage.url)
    asked(page)
    chip = page.locator(".chip").nth(2)
    chip.hover()
    expect(page.locator(".piece.lit")).to_contain_text("store them")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    faint = page.locator(".hit").evaluate_all("(all) => all.map((one) => one.matches('.faint'))")
    assert faint == [True, True, False]
    chip.click()
    expect(page.locator(".hit.faint")).to_have_count(0)
