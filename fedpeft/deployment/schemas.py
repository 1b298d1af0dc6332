# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of what an organization writes, ``SITE.toml`` and ``policy.toml``, for editors."""

from __future__ import annotations

from typing import Final

from fedpeft.config import json_schema
from fedpeft.deployment.site_file import SECTIONS, SiteKeys
from fedpeft.privacy.policy import Policy
from fedpeft.types import JsonDict

_DIALECT: Final = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def site_schema() -> JsonDict:
    """Of ``SITE.toml``: ``[site]``, and of a run's sections and keys those that are a site's to say.

    It cannot express what spans several keys; ``load_site_file`` checks that too.
    """
    run, site = json_schema(), SiteKeys.model_json_schema()
    definitions = run["$defs"] | site.pop("$defs", {}) | {"SiteKeys": site}
    properties = {"site": {"$ref": "#/$defs/SiteKeys"}}
    for section, keys in SECTIONS.items():
        node = run["properties"][section]
        name = node["$ref"].rsplit("/", 1)[-1]
        if keys is not None:
            found = definitions[name]
            kept = {key: value for key, value in found["properties"].items() if key in keys}
            definitions[name] = found | {"properties": kept}
        properties[section] = {"$ref": node["$ref"]}
    return _DIALECT | {
        "title": "SITE.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["site"],
        "properties": properties,
        "$defs": definitions,
    }


def policy_schema() -> JsonDict:
    """Of ``policy.toml``; a date of TOML counts as a text in the form of one."""
    return _DIALECT | Policy.model_json_schema()
