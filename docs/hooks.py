# SPDX-License-Identifier: Apache-2.0
"""What mkdocs does beyond its own: pages and files of the repository that stand outside ``docs/``.

Documents link to each other as they lie in the repository. A link that leaves ``docs/`` leads to a page made
of that file where ``PAGES`` has it, and else to a copy of the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = {"measured.md": "simulations/README.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site that are files of the repository."""

COPIES: Final = "repository"
"""The site's folder of copied files."""

_EMPTY_HEADING: Final = re.compile(r"<th([^>]*)></th>")
_SEARCH: Final = 'data-md-component="search" role="dialog"'
_LINK: Final = re.compile(r"(?<=\]\()([^)#\s]+)")
_WHOLE_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of ``PAGES``, and what is linked to and stands outside ``docs/``."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for page in [file for file in files if file.is_documentation_page()]:
        for link in _LINK.findall(page.content_string):
            target = _target(page.src_uri, link)
            if target is not None and (uri := _copy_of(target)) and uri not in files.src_uris:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make every link lead to where its file is in the site; one to a folder becomes its words."""
    here = page.file.src_uri

    def unlinked(match: re.Match[str]) -> str:
        return match[1] if (ROOT / _path(here, match[2])).is_dir() else match[0]

    def moved(match: re.Match[str]) -> str:
        target = _target(here, match[1])
        if target is None:
            return match[1]
        uri = _copy_of(target) or _page_of(target)
        return os.path.relpath(uri, os.path.dirname(here))

    return _LINK.sub(moved, _WHOLE_LINK.sub(unlinked, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """A table's corner without words is no heading."""
    return _EMPTY_HEADING.sub(r"<td\1></td>", html)


def on_post_page(output: str, **_: Any) -> str:
    """Give the theme's search a name, for those who hear the page."""
    return output.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page of addresses that lead nowhere."""
    return on_post_page(output_content)


def _target(page: str, link: str) -> str | None:
    """The file of the repository that a page's link means; ``None`` where it means none."""
    if "://" in link or link.startswith("mailto:"):
        return None
    target = _path(page, link)
    return target if (ROOT / target).is_file() else None


def _path(page: str, link: str) -> str:
    """Where a page's link leads, from the root of the repository."""
    source = PAGES.get(page, f"docs/{page}")
    return os.path.normpath(os.path.join(os.path.dirname(source), link))


def _page_of(target: str) -> str:
    pages = {source: page for page, source in PAGES.items()}
    return pages.get(target, target.removeprefix("docs/"))


def _copy_of(target: str) -> str | None:
    """Where the copy of a file is; ``None`` for one that is a page or lies in ``docs/``."""
    if target.startswith("docs/") or target in PAGES.values():
        return None
    text = target + ".txt" if target.endswith(".md") else target  # otherwise it would be a page
    return f"{COPIES}/{text}"
