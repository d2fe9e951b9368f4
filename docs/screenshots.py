"""Takes the pictures of the page that the docs show, from a real search on the demo's index.

    make demo browser
    .venv/bin/python docs/screenshots.py            # writes docs/images/*.png

The page has no font of its own: the pictures show the system's (ours: Inter, JetBrains Mono).
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.telemetry.observer import RequestObserver

HERE = Path(__file__).parent
FETCH = (
    "How do I fetch a gzip-compressed CSV over HTTP with a timeout, parse its rows, and store "
    "them in an SQLite database?"
)
WALK = (
    "I need to walk a directory tree, hash every file with SHA-256, put the results into a ZIP "
    "archive, and log warnings with timestamps to a rotating file."
)
MAX_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown, and how."""

    name: str
    query: str
    scheme: str
    width: int
    height: int
    scrolled_to: str = ""  # the top if there is none
    points_at: str = ""
    scale: float = 1.0


PICTURES = (
    Picture("page-light", WALK, "light", 1280, 1060, points_at=".chip >> nth=1"),
    Picture("page-dark", FETCH, "dark", 1280, 1060),
    Picture("page-votes", WALK, "light", 1280, 620, ".votes", "#heat-voters td >> nth=95"),
    Picture("page-phone", WALK, "dark", 360, 760, ".read", scale=2.0),
)


def main() -> None:
    """Takes all pictures."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", type=Path, default=HERE.parent / "examples" / "demo.toml")
    parser.add_argument("--out", type=Path, default=HERE / "images")
    given = parser.parse_args()
    path = os.environ.get("MRAG_CHROMIUM") or shutil.which("chromium")
    if path is None:
        sys.exit("needs a browser: `make browser`, or set MRAG_CHROMIUM")
    given.out.mkdir(parents=True, exist_ok=True)
    with served(Config.load(given.config)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for picture in PICTURES:
            file = given.out / f"{picture.name}.png"
            file.write_bytes(small(taken(browser, url, picture)))
            print(f"{file} {file.stat().st_size / 1000:.0f} kB")
            assert file.stat().st_size < MAX_BYTES
        browser.close()


def taken(browser: Browser, url: str, picture: Picture) -> bytes:
    """The picture as a PNG."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.scheme,  # type: ignore[arg-type]
        device_scale_factor=picture.scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    address = f"{url}/#{urlencode({'q': picture.query})}"
    page.goto(address)
    page.wait_for_selector(".others li", timeout=60_000)
    page.reload()  # once more: the first answer's timings are a cold index's
    page.wait_for_selector(".others li", timeout=60_000)
    if picture.scrolled_to:
        page.eval_on_selector(picture.scrolled_to, "(part) => part.scrollIntoView()")
    if picture.points_at:
        page.hover(picture.points_at)
    page.wait_for_timeout(300)
    shot = page.screenshot()
    context.close()
    return shot


def small(png: bytes) -> bytes:
    """The picture in 256 colours: flat areas lose nothing that is seen."""
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


@contextmanager
def served(config: Config) -> Iterator[str]:
    """The service's address; everything in this process."""
    encoder = wiring.encoder(config)
    with closing(wiring.index(config)) as index:
        segmenter = wiring.segmenter(config, encoder)
        backend = InProcessBackend(encoder, segmenter, index, config.serve, config.retrieve)
        guard = KeyGuard(config.serve, Keys())
        observer = RequestObserver(config.serve)
        app = create_api(backend, config.serve, guard, observer, retrieve=config.retrieve)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            backend.close()


if __name__ == "__main__":
    main()
