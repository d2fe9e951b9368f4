"""The page of `mrag heads` in a real Chromium: sizes, themes, colours, and hostile texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.report.heads_page import heads_page
from tests.support.browser_page import Opened
from tests.support.made_study import HOSTILE, made_study

# The lowest contrast of a cell's text with its own background, as WCAG 2 defines it.
LOWEST_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const luminance = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Math.min(...[...document.querySelectorAll('table.heat td')].map((cell) => {
    const style = getComputedStyle(cell);
    const [low, high] = [luminance(style.color), luminance(style.backgroundColor)]
      .sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }));
}"""


def written(folder: Path, hostile: str = "") -> str:
    """The page's address."""
    path = folder / "heads.html"
    path.write_text(heads_page(made_study(hostile), "mrag heads"), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize("hostile", ["", HOSTILE[3]], ids=["plain", "long"])
def test_a_narrow_screen_never_scrolls_sideways(
    width: int, hostile: str, tmp_path: Path, open_page: Opened
) -> None:
    """Wide tables scroll inside themselves; words of any length are broken."""
    page = open_page(written(tmp_path, hostile), width=width)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_cell_of_a_heat_map_can_be_read(
    scheme: str, tmp_path: Path, open_page: Opened
) -> None:
    """WCAG AA in both themes, the darkest cell too."""
    page = open_page(written(tmp_path), color_scheme=scheme)
    assert page.locator("table.heat td").count() > 20
    assert page.evaluate(LOWEST_CONTRAST) >= 4.5


def test_the_themes_differ(tmp_path: Path, open_page: Opened) -> None:
    """The page follows the system."""
    page = open_page(written(tmp_path), color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "breakout", "bidi", "long"])
def test_nothing_of_a_corpus_runs(text: str, tmp_path: Path, open_page: Opened) -> None:
    """No script, no request (the fixture sees them), no element of the text's own."""
    page = open_page(written(tmp_path, text))
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("img, script").count() == 0
    assert page.locator(".pair p bdi").count() > 0
