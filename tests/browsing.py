# SPDX-License-Identifier: Apache-2.0
"""A page as a real browser opens it: what it said and asked for, and what axe-core finds in it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


class Opened:
    """A page as it was opened, and what happened on the way."""

    def __init__(self, browser: Any, address: str, *, scheme: str = "light", width: int = 1200) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.context.set_default_timeout(120_000)  # milliseconds; other tests keep the processors busy
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def violations(self) -> list[str]:
        """What axe-core finds, one line a rule."""
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        return [f"{v['id']}: {v['help']} {[n['html'][:120] for n in v['nodes']][:3]}" for v in found]
