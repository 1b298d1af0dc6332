# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: sections, console, requests, width; contrast and texts by axe-core."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedpeft.report import make_page, read_run, watching, write_page
from fedpeft.report.watching import Watched, make_server
from simulations.benchmarks.shared.browser import chromium, find_chromium
from simulations.benchmarks.shared.run_folder import (
    write_baselines,
    write_run,
    write_selection,
    write_synthetic,
)
from tests.browsing import Opened

pytest.importorskip("playwright", reason="the page is tried in a browser with playwright, of the extra dev")
if find_chromium() is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole run, one that is NOT PRIVATE, one in progress, and several."""
    place = tmp_path_factory.mktemp("browser")
    write_run(place / "whole", rounds=12)
    write_selection(place / "whole")
    write_synthetic(place / "whole")
    shutil.copytree(place / "whole", place / "open")
    write_baselines(place / "open")
    write_run(place / "going-on", rounds=3, finished=False)
    write_run(place / LONG)
    for name in ("whole", "open", "going-on"):
        write_page([read_run(place / name)], place / f"{name}.html")
    runs = [read_run(place / name) for name in ("whole", LONG)]
    write_page(runs, place / "several.html")
    return {name: place / f"{name}.html" for name in ("whole", "open", "going-on", "several")}


LONG = "a-run-with-a-very-long-name-" * 4
HEIGHTS = "all => all.map(e => e.getBoundingClientRect().height)"
NAMES = ("whole", "open", "going-on", "several")


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_in_silence_and_asks_for_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Opened(browser, pages[name].as_uri()) as opened:
        assert opened.problems == []
        assert opened.requests == [pages[name].as_uri(), "data:,"][: len(opened.requests)]
        headings = opened.page.locator("section > h2, section > h3").all_inner_texts()
        for title in (
            "The sentence to sign", "Warnings", "Privacy budget", "Metrics before and after",
            "Learning curves", "Noise by segment", "Layers", "Synthetic data", "Time and bytes",
            "Versions, configuration, hashes",
        ):  # fmt: skip
            assert title in headings
        boxes = opened.page.locator("figure svg").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().height)"
        )
        assert boxes
        assert min(boxes) > 40


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wider_than_a_phone(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Opened(browser, pages[name].as_uri(), width=360) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
        letters = opened.page.locator("figure svg text").evaluate_all(HEIGHTS)
        assert min(letters) > 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    with Opened(browser, pages[name].as_uri(), scheme=scheme) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert opened.violations() == []


def test_light_and_dark_are_two(browser: Any, pages: dict[str, Path]) -> None:
    papers, inks = set(), set()
    for scheme in ("light", "dark"):
        with Opened(browser, pages["whole"].as_uri(), scheme=scheme) as opened:
            papers.add(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            inks.add(opened.page.evaluate("getComputedStyle(document.querySelector('svg text')).fill"))
    assert len(papers) == len(inks) == 2


def test_axe_and_the_console_can_see(browser: Any, tmp_path: Path) -> None:
    """The checks above fail where there is something to find."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html lang=en><title>t</title>"
        "<style>p{color:#ccc;background:#fff;width:900px}</style>"
        "<h1>x</h1><img src='http://127.0.0.1:9/x.png'><p>pale</p>"
    )
    with Opened(browser, bad.as_uri(), width=360) as opened:
        found = " ".join(opened.violations())
        assert "color-contrast" in found
        assert "image-alt" in found
        assert opened.problems
        assert any("127.0.0.1:9" in url for url in opened.requests)
        assert opened.page.evaluate("document.documentElement.scrollWidth") > 360


def test_a_page_that_is_watched_follows_the_run(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LEAST_S", 0.0)
    write_run(tmp_path, rounds=3, finished=False)
    watched = Watched(tmp_path)
    with make_server(watched, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with Opened(browser, f"http://127.0.0.1:{server.server_port}{watched.place}") as opened:
                live = opened.page.locator("#live")
                live.get_by_text("Live: 3 of 3 rounds done").wait_for()
                opened.page.locator("#provenance details").evaluate("e => e.open = true")
                write_run(tmp_path, rounds=3)
                live.get_by_text("The run is over.").wait_for()
                opened.page.locator("blockquote").wait_for()
                assert opened.page.locator("header .state").first.inner_text() == "completed after 3 rounds"
                assert opened.violations() == []
                assert opened.problems == []
                assert {url.split("/")[2] for url in opened.requests if url.startswith("http")} == {
                    f"127.0.0.1:{server.server_port}"
                }
        finally:
            server.shutdown()
            thread.join()


def test_a_name_that_is_markup_is_shown_as_it_is(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    write_run(folder, rounds=2)
    page = tmp_path / "page.html"
    page.write_text(make_page([read_run(folder)]))
    with Opened(browser, page.as_uri()) as opened:
        assert opened.page.locator("h1").inner_text() == folder.name
        assert opened.page.locator("img").count() == 0
