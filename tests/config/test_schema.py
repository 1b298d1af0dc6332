# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema, as an editor uses it: it accepts every TOML that ships, and sees what is wrong in one."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fedpeft.config import json_schema, parse_config, to_toml
from fedpeft.config.new_run import Answers, new_run
from fedpeft.config.schema import leaves
from fedpeft.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
NO_RUNS = {"mutants.toml"}
"""What lies among the runs and is none."""

ELSEWHERE = {
    "pyproject.toml": "other programs'",
    "app-pyproject.toml": "Flower's",
    "flower-config.toml": "Flower's",
    "mutants.toml": "changes of the code, for simulations/mutants.py",
    "SITE.toml": "tests/deployment/test_schemas.py",
    "policy.toml": "tests/deployment/test_schemas.py",
}
"""TOMLs that are no runs: whose they are, or where they are held against their own schema."""

RUNS = [path for path in sorted((ROOT / "simulations").glob("*.toml")) if path.name not in NO_RUNS]
TEMPLATE = ROOT / "fedpeft" / "deployment" / "templates" / "coordinator" / "run.toml"

GOOD: dict[str, Any] = {
    "data": {"source": "jsonl", "partition": {"kind": "none"}},
    "privacy": {"epsilon": 8.0, "task_weights": {}},
    "sites": [
        {"name": "north", "path": "north.jsonl", "declared_units": 100},
        {"name": "south", "paths": ["a.jsonl", "b.jsonl"], "declared_units": 300, "epsilon": 2.0},
    ],
}

BROKEN: list[tuple[str, Any]] = [
    ("methd", "fedpeft"),
    ("method", "fedavg"),
    ("method", 3),
    ("privcy", {"epsilon": 8.0}),
    ("privacy", 8.0),
    ("privacy.epsilom", 8.0),
    ("privacy.epsilon", 0),
    ("privacy.epsilon", "8"),
    ("privacy.delta", 1.0),
    ("privacy.delta", 0.0),
    ("privacy.unit", ""),
    ("privacy.unit", 3),
    ("privacy.clipping", "none"),
    ("privacy.clip_norm", 0.0),
    ("privacy.clip_quantile", 1.0),
    ("privacy.allocation", "unifrom"),
    ("privacy.arithmetic", "double"),
    ("privacy.schedule", "linear"),
    ("privacy.schedule_every", 0),
    ("privacy.crash_reserve", -1),
    ("privacy.max_records_per_unit", 0),
    ("privacy.missing_unit", "drop"),
    ("privacy.task_weights.a", 1.5),
    ("model.dtype", "float64"),
    ("model.device", "gpu"),
    ("model.backbone", ""),
    ("model.quantization", "8bit"),
    ("adapter.kind", "dora"),
    ("adapter.rank", 0),
    ("adapter.rank", 1.5),
    ("adapter.rank", 1025),
    ("adapter.layers", []),
    ("adapter.layers", ["top"]),
    ("adapter.modules", [1]),
    ("data.source", "xml"),
    ("data.held_out", 1.0),
    ("data.max_length", 7),
    ("data.chat_template", "yes"),
    ("data.partition.kind", "random"),
    ("data.partition.alpha", 0.0),
    ("data.partition.parts", 0),
    ("sites", {"name": "north"}),
    ("sites.0.name", "a/b"),
    ("sites.0.declared_units", 0),
    ("sites.0.epsilon", -1.0),
    ("sites.1.split", "train[:9]"),
    ("sites.1.unit", "record"),
    ("training.sampling_rate", 0.0),
    ("training.sampling_rate", 1.01),
    ("training.local_steps", 0),
    ("training.learning_rate", 0.0),
    ("training.prefix_cache", "ram"),
    ("training.autocast", "float16"),
    ("federation.rounds", 0),
    ("federation.rounds", True),
    ("federation.aggregation", "median"),
    ("federation.server_optimizer", "adamw"),
    ("federation.server_momentum", 1.0),
    ("federation.min_sites", 0),
    ("federation.deadline_s", 0),
    ("synthesis.generator", "llm"),
    ("synthesis.size", 1),
    ("synthesis.bins", 4097),
    ("selection.selector", "first-k"),
    ("selection.size", "all"),
    ("selection.validation", 1.0),
    ("evaluation.public", "yes"),
    ("evaluation.records", -1),
    ("evaluation.labels", ["good", 3]),
    ("evaluation.epsilon_share", 1.0),
    ("run.seed", 2**63),
    ("run.threads", 0),
]
"""A key and a value that it must not have, or a key that there is not."""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(json_schema())
    return Draft202012Validator(json_schema())


def with_key(key: str, value: Any) -> dict[str, Any]:
    """The good configuration with one key changed."""
    tables: Any = copy.deepcopy(GOOD)
    inner, *words = tables, *key.split(".")
    for word in words[:-1]:
        inner = inner[int(word)] if isinstance(inner, list) else inner.setdefault(word, {})
    inner[words[-1]] = value
    return tables


@pytest.mark.parametrize("path", [*RUNS, TEMPLATE], ids=lambda path: path.name)
def test_it_accepts_every_toml_that_ships(validator: Draft202012Validator, path: Path) -> None:
    text = path.read_text("utf-8")
    if path == TEMPLATE:
        text = text.format(name="clinics") if "{name}" in text else text
    assert list(validator.iter_errors(tomllib.loads(text))) == []


def test_the_runs_that_ship_are_found() -> None:
    assert {"quickstart.toml", "medquad.toml", "sst2.toml"} <= {path.name for path in RUNS}


def test_every_toml_of_the_repository_has_a_schema_or_another_owner() -> None:
    """Experiments have one of their own (``tests/simulations/grid/test_experiment.py``)."""
    folders = ("fedpeft", "simulations", "client", "server", "docs")
    found = [path for name in folders for path in sorted((ROOT / name).rglob("*.toml"))]
    assert len(found) > 15
    for path in [*found, *ROOT.glob("*.toml")]:
        is_experiment = path.parent == ROOT / "simulations" / "experiments"
        assert path in [*RUNS, TEMPLATE] or is_experiment or path.name in ELSEWHERE, path


def test_it_accepts_what_is_written_for_a_user(validator: Draft202012Validator, tmp_path: Path) -> None:
    written = new_run(Answers(("a", "b"), "{name}.csv", (5,), "record", 8.0))
    resolved = to_toml(parse_config(tomllib.loads(written), tmp_path))
    for text in (written, resolved):
        assert list(validator.iter_errors(tomllib.loads(text))) == []


def test_there_are_fifty_ways_to_break_one() -> None:
    assert len(BROKEN) == len({repr(one) for one in BROKEN}) >= 50


@pytest.mark.parametrize(("key", "value"), BROKEN, ids=[f"{key} = {value!r}" for key, value in BROKEN])
def test_it_sees_what_is_wrong(validator: Draft202012Validator, tmp_path: Path, key: str, value: Any) -> None:
    """At the key that is wrong, and nowhere else; the command that checks a run says the same."""
    assert list(validator.iter_errors(GOOD)) == []
    errors = list(validator.iter_errors(with_key(key, value)))
    assert errors
    words = key.split(".")
    for error in errors:
        place = [str(part) for part in error.absolute_path]
        assert place[: len(words)] == words[: len(place)]
        assert len(place) >= len(words) - 1
    with pytest.raises(ConfigError):
        parse_config(with_key(key, value), tmp_path)


def test_every_key_says_what_it_means() -> None:
    assert [key for key, node in leaves() if not node.get("description")] == []
