"""Pictures of the built site, for people who look at a change: `python -m docs.site.screenshots`.

Writes docs/images/site-{desktop,phone}-{light,dark}.webp from build/site; `make docs` comes first.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def main() -> None:
    """Four pictures of the first page."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                )
                page.goto((ROOT / "build/site/index.html").as_uri())
                page.wait_for_timeout(500)
                picture = Image.open(io.BytesIO(page.screenshot()))
                picture.save(ROOT / f"docs/images/site-{size}-{scheme}.webp", quality=80)
        browser.close()


if __name__ == "__main__":
    main()
