# SPDX-License-Identifier: Apache-2.0
"""The schemas of what an organization writes: they accept what is shipped and used, and see what is wrong."""

from __future__ import annotations

import copy
import datetime
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fedpeft.deployment.init import init_site
from fedpeft.deployment.schemas import policy_schema, site_schema
from fedpeft.deployment.site_file import load_site_file
from fedpeft.errors import ConfigError

SCHEMAS = {"SITE.toml": site_schema, "policy.toml": policy_schema}

BROKEN = [
    ("SITE.toml", "site", None),
    ("SITE.toml", "site", 5),
    ("SITE.toml", "site.socket", None),
    ("SITE.toml", "site.courier", 5),
    ("SITE.toml", "site.sokket", "/x"),
    ("SITE.toml", "site.superlink", "https://x"),
    ("SITE.toml", "site.slot_s", -1.0),
    ("SITE.toml", "site.queue_s", 0.0),
    ("SITE.toml", "federation", {"rounds": 3}),
    ("SITE.toml", "training", {"learning_rate": 0.1}),
    ("SITE.toml", "privacy", {"epsilon": 100.0}),
    ("SITE.toml", "privacy", {"arithmetic": "double"}),
    ("SITE.toml", "run", {"seed": 3}),
    ("SITE.toml", "evaluation", {"records": 3}),
    ("SITE.toml", "model.dtype", "int8"),
    ("SITE.toml", "adapter.kind", "dora"),
    ("SITE.toml", "data.source", "xml"),
    ("policy.toml", "identity", "a/b"),
    ("policy.toml", "identity", None),
    ("policy.toml", "unit", ""),
    ("policy.toml", "declared_units", 0),
    ("policy.toml", "epsilon", -1.0),
    ("policy.toml", "epsilon", None),
    ("policy.toml", "delta", 1.0),
    ("policy.toml", "stages", ["trainig"]),
    ("policy.toml", "sub_budgets", [0.0]),
    ("policy.toml", "crash_reserve", -1),
    ("policy.toml", "filter", {"epsilon": 1.0}),
    ("policy.toml", "epsilom", 8.0),
]
"""File, key, and a value that it must not have; ``None`` takes the key away."""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    init_site(folder / "s", "st-mary", "fl.example.org:8443", node_port=9101)
    return folder / "s" / "site"


def tables_of(path: Path) -> dict[str, Any]:
    found = tomllib.loads(path.read_text("utf-8"))
    return {k: v.isoformat() if isinstance(v, datetime.date) else v for k, v in found.items()}


def problems(name: str, tables: dict[str, Any]) -> list[str]:
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(tables)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_init_writes_is_sound(shipped: Path, name: str) -> None:
    assert problems(name, tables_of(shipped / name)) == []


def test_what_a_site_serves_with_is_sound(make_site: Callable[..., Path]) -> None:
    path = make_site(privacy={"max_records_per_unit": 3}, evaluation={"private": True, "labels": ["a", "b"]})
    load_site_file(path)
    assert problems("SITE.toml", tables_of(path)) == []


@pytest.mark.parametrize(("name", "key", "value"), BROKEN)
def test_what_is_wrong_is_seen(shipped: Path, tmp_path: Path, name: str, key: str, value: Any) -> None:
    tables: Any = copy.deepcopy(tables_of(shipped / name))
    *outer, last = key.split(".")
    inner = tables[outer[0]] if outer else tables
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    assert problems(name, tables)


def test_the_keys_that_are_not_a_sites_are_those_that_are_refused(make_site: Callable[..., Path]) -> None:
    """The schema and the program agree on whose a key is."""
    for section in ("privacy", "training", "evaluation", "run"):
        known = site_schema()["$defs"][site_schema()["properties"][section]["$ref"].rsplit("/", 1)[-1]]
        for key in ("epsilon", "learning_rate", "records", "seed", "threads", "private", "arithmetic"):
            with pytest.raises(ConfigError) as caught:
                load_site_file(make_site(**{section: {key: []}}))
            is_foreign = any("is the coordinator's or the policy's" in one for one in caught.value.problems)
            assert is_foreign == (key not in known["properties"]), (section, key)
