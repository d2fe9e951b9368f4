"""What MkDocs calls while it builds: pages made from code, links of the site, diagrams."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.site import diagrams, links, notebook, reference  # noqa: E402

_PICTURE = re.compile(r"^!\[([^\]]*)\]\((?:[\w./]*/)?images/(diagram-[\w-]+)\.svg\)$", re.MULTILINE)

# What makes the search work from files, as the theme's offline plugin names it.
_FOREIGN_SHIM = "https://unpkg.com/iframe-worker/shim"


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of the repository outside docs/, and the reference."""
    for source, place in links.PLACES.items():
        if files.get_file_from_path(place) is None:
            text = (ROOT / source).read_text("utf-8")
            content = links.for_the_site(text, source, place)
            files.append(File.generated(config, place, content=content))
    for place, content in reference.pages().items():
        files.append(File.generated(config, place, content=content))
    for source, place in links.PICTURES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        markdown, pictures = notebook.page(path)
        files.append(File.generated(config, f"{path.stem}.md", content=markdown))
        for place, picture in pictures.items():
            files.append(File.generated(config, place, content=picture))
    content = json.dumps(reference.openapi(), indent=1)
    files.append(File.generated(config, "reference/openapi.json", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as the site has them; diagrams in the page itself, in the colours of its theme."""
    if page.file.generated_by is None:
        markdown = links.for_the_site(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return _PICTURE.sub(lambda match: diagrams.figure(match[2], alt=match[1]), markdown)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Without the one script that the theme would load from another host."""
    own = get_relative_url("site/iframe-worker.js", page.url)
    return output.replace(_FOREIGN_SHIM, own)
