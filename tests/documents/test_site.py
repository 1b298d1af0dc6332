# SPDX-License-Identifier: Apache-2.0
"""The documentation site: built without a warning, complete, and asking no other host for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tests.documents.blocks import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


class _Loads(HTMLParser):
    """Collects what a browser fetches by itself, and pictures without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.wordless: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "img", "iframe", "source", "video"):
            self.fetched.append(given.get("src", ""))
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(given.get("href", ""))
        if tag == "img" and not given.get("alt"):
            self.wordless.append(given.get("src", ""))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    assert len(pages(site)) > 15
    for page in pages(site):
        seen = _Loads()
        seen.feed(page.read_text("utf-8"))
        assert [url for url in seen.fetched if re.match(r"(https?:)?//", url)] == [], page.name
        assert seen.wordless == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\((['\"]?)(https?:)?//", sheet.read_text("utf-8")), sheet.name


def test_every_page_of_the_navigation_is_there(site: Path) -> None:
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = [page for part in configuration["nav"] for section in part.values() for page in section]
    assert len(listed) == len(set(listed)) > 15
    for page in listed:
        assert (site / page).with_suffix(".html").is_file(), page


def test_links_that_leave_the_documents_lead_to_copies(site: Path) -> None:
    text = (site / "privacy.html").read_text("utf-8")
    assert 'href="repository/simulations/results/audit.json"' in text
    assert (site / "repository/simulations/results/audit.json").is_file()
    assert 'href="measured.html#speed-and-memory"' in (site / "not-covered.html").read_text("utf-8")


def test_docstrings_and_settings_are_in_the_reference(site: Path) -> None:
    python = (site / "reference" / "python.html").read_text("utf-8")
    for words in ("simulate", "PeftModel", "RunDirectoryError", "Raises"):
        assert words in python
    assert "privacy.epsilon" in (site / "reference" / "configuration.html").read_text("utf-8")


def test_pictures_say_in_words_what_they_show() -> None:
    for picture in (ROOT / "docs" / "images").glob("*.svg"):
        text = picture.read_text("utf-8")
        assert re.search(r"<title[^>]*>[^<]+</title>", text), picture.name
        assert re.search(r"<desc[^>]*>[^<]{40,}</desc>", text), picture.name
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), picture.name
