# SPDX-License-Identifier: Apache-2.0
"""The page of all keys says of each what it accepts, its default and its meaning."""

from __future__ import annotations

import re

from fedpeft.config.reference import reference
from fedpeft.config.schema import settable_keys


def test_every_key_has_its_heading_once() -> None:
    headings = re.findall(r"^### `([^\[`]+)`$", reference(), re.MULTILINE)
    assert sorted(headings) == sorted(key.replace("sites.NAME", "sites") for key in settable_keys())


def test_a_key_says_what_it_accepts_and_its_default() -> None:
    page = reference()
    assert "### `privacy.epsilon`\n\na finite number above 0; *default:* `8.0`\n" in page
    kinds = '`"bias"` or `"ffa"` or `"lora"` or `"lora-xs"`'
    assert f'### `adapter.kind`\n\n{kinds}; *default:* `"ffa"`\n' in page
    assert "### `sites.name`\n\ntext in quotes that matches" in page
    assert "; **must be given**\n" in page.partition("### `sites.name`")[2].partition("###")[0]
    assert "## `[[sites]]`" in page
    assert "### `[data.partition]`" in page
