# SPDX-License-Identifier: Apache-2.0
"""The documentation site in a browser: silent, asking nobody, as narrow as a phone, sound for axe-core."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from simulations.benchmarks.shared.browser import chromium, find_chromium
from tests.browsing import Opened

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("playwright", reason="the site is tried in a browser with playwright, of the extra dev")
from playwright.sync_api import TimeoutError

if find_chromium() is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site, served on loopback: scripts of a page on the disk may not fetch its index."""
    handler = functools.partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(site: Path) -> list[str]:
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_every_page_is_in_order_in_light_and_in_dark(browser: Any, address: str, pages: list[str]) -> None:
    found = {}
    for number, page in enumerate(pages):
        schemes = (
            ("light", "dark")
            if page in ("index.html", "tutorial.html")
            else ("light", "dark")[number % 2 :][:1]
        )
        for scheme in schemes:
            with Opened(browser, f"{address}/{page}", scheme=scheme) as opened:
                found[f"{page} {scheme}"] = [*opened.violations(), *opened.problems]
                assert {url.split("/")[2] for url in opened.requests if url.startswith("http")} == {
                    address.split("/")[2]
                }, page
    assert {page: wrong for page, wrong in found.items() if wrong} == {}


def test_nothing_is_wider_than_a_phone(browser: Any, address: str, pages: list[str]) -> None:
    wide = {}
    for page in pages:
        with Opened(browser, f"{address}/{page}", width=360) as opened:
            width = opened.page.evaluate("document.documentElement.scrollWidth")
            if width > 360:
                wide[page] = width
    assert wide == {}


def test_what_is_searched_for_is_found(browser: Any, address: str) -> None:
    with Opened(browser, f"{address}/index.html") as opened:
        words, found = (opened.page.locator(it) for it in ("input[name=query]", ".md-search-result__item"))
        for _ in range(12):  # typed again where a busy machine did not listen yet
            words.fill("")
            words.press_sequentially("epsilon")
            with suppress(TimeoutError):
                found.first.wait_for(timeout=10_000)
                break
        assert found.first.is_visible()
