# SPDX-License-Identifier: Apache-2.0
"""What a program gives, and what it gets: tables, datasets, runs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import datasets
import pytest

import fedpeft
from fedpeft.testing import write_records


def tables(workplace: Path) -> dict:
    """Of a run over data that the program holds."""
    found = tomllib.loads((workplace / "run.toml").read_text("utf-8"))
    del found["data"]["source"]
    found["federation"]["rounds"] = 1
    for site in found["sites"]:
        del site["path"]
    return found


def held(workplace: Path) -> datasets.DatasetDict:
    """The same records as in the files."""
    rows = {name: str(workplace / f"{name}.jsonl") for name in ("site0", "site1")}
    cache = str(workplace / "cache")
    return datasets.DatasetDict(
        {name: datasets.Dataset.from_json(path, cache_dir=cache) for name, path in rows.items()}
    )


class Stop(Exception):  # noqa: N818 - what a test raises
    """Ends a run from outside."""


class Stopper:
    """Ends a run after its first round."""

    def evaluating(self, *_: object) -> None:
        """Go on."""

    def evaluated(self, *_: object) -> None:
        """Go on."""

    def site_step(self, *_: object) -> None:
        """Go on."""

    def stage(self, *_: object) -> None:
        """Go on."""

    def round_done(self, *_: object) -> None:
        """Go no further."""
        raise Stop


def test_a_dataset_dict_is_the_data_of_the_sites_by_name(workplace: Path) -> None:
    given = tables(workplace)
    run = fedpeft.simulate(given, datasets=held(workplace))
    assert run.folder == Path("runs/run")
    assert run.config.data.source == "python"
    assert run.is_finished
    assert run.verify()
    assert given == tables(workplace)
    assert "source" not in given["data"]


def test_a_run_is_gone_on_with_and_says_that_it_is_not_finished(workplace: Path) -> None:
    data = held(workplace)
    given = tables(workplace) | {"federation": {"rounds": 2}}
    with pytest.raises(Stop):
        fedpeft.simulate(given, "runs/held", datasets=data, observer=Stopper())
    run = fedpeft.open_run("runs/held")
    assert not run.is_finished
    assert "not finished, epsilon 8, delta 1e-05, unit record; fedpeft.resume goes on" in repr(run)
    assert run.guarantee.startswith("Everything a site sends in this run is (8, 1e-05)-")
    for read in (lambda: run.metrics, lambda: run.adapter, run.model, lambda: run.evaluate("test.jsonl")):
        with pytest.raises(
            fedpeft.RunDirectoryError, match=r"^runs/held: .*not finished; go on with fedpeft"
        ):
            read()
    with pytest.raises(fedpeft.DataError, match=r"call fedpeft\.simulate\(config, datasets=\{\.\.\.\}\)"):
        fedpeft.resume("runs/held")
    again = fedpeft.resume("runs/held", datasets=data)
    assert again.result["rounds_completed"] == 2
    assert again == fedpeft.open_run("runs/held")


def test_the_name_of_the_toml_is_the_default_folder(workplace: Path) -> None:
    config = fedpeft.load_config("run.toml", ["federation.rounds=1"])
    assert fedpeft.simulate(config).folder == Path("runs/run")
    with pytest.raises(fedpeft.RunDirectoryError, match="exists already; choose another folder"):
        fedpeft.simulate(config)


@pytest.mark.parametrize(
    ("config", "given", "says"),
    [
        (3, {}, "config is a int; give a RunConfig, the path of a TOML, or its tables"),
        ({"privcy": {}}, {}, 'privcy = {}: unknown key; did you mean "privacy"?'),
        ({}, {"overrides": ["privacy.epsilon=0"]}, "privacy.epsilon = 0: must be a finite number above 0"),
        ("none.toml", {}, "none.toml: no such file; give the path"),
        ("run.toml", {"datasets": {}}, 'data.source = "jsonl": datasets are given'),
        ({"data": {"source": "docstrings"}}, {"datasets": {}}, 'data.source = "docstrings": datasets are'),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_what_cannot_be_used_is_told(config: object, given: dict, says: str) -> None:
    with pytest.raises(fedpeft.UserError) as caught:
        fedpeft.simulate(config, "runs/none", **given)
    (line,) = caught.value.problems
    assert says in line
    assert not Path("runs/none").exists()


def test_a_configuration_that_was_read_does_not_change(workplace: Path) -> None:
    config = fedpeft.load_config("run.toml")
    with pytest.raises(fedpeft.ConfigError, match=r"overrides = \['privacy.epsilon=2'\]: a RunConfig does"):
        fedpeft.make_plan(config, ["privacy.epsilon=2"])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"site0"}, "datasets['site1']: is not given; add it"),
        ({"site0", "site1", "site2"}, "datasets['site2']: is no site's; name one of site0, site1"),
    ],
)
def test_data_of_other_sites_are_told(workplace: Path, names: set[str], says: str) -> None:
    for number in range(3):
        write_records(workplace / f"site{number}.jsonl", 40, seed=number)
    data = {n: datasets.Dataset.from_list([{"instruction": n, "response": n}]) for n in names}
    with pytest.raises(fedpeft.DataError) as caught:
        fedpeft.simulate(tables(workplace), "runs/none", datasets=data)
    assert caught.value.problems == (says,)


def test_a_plan_reads_no_data(workplace: Path) -> None:
    (workplace / "site0.jsonl").unlink()
    plan = fedpeft.make_plan("run.toml")
    assert repr(plan).startswith("<Plan epsilon 8, delta 1e-05, unit record: 2 sites, 2 steps, noise")
    assert repr(plan.layout.size) in repr(plan).replace(",", "")


def test_a_configuration_says_what_it_promises() -> None:
    config = fedpeft.parse_config({"privacy": {"epsilon": 2.5, "delta": 1e-6}}, Path.cwd())
    told = (
        "<RunConfig epsilon 2.5, delta 1e-06, unit record: 7 sites, 8 rounds, backbone smollm2-135m-instruct>"
    )
    assert repr(config) == str(config) == told
