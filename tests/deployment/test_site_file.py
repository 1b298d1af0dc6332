# SPDX-License-Identifier: Apache-2.0
"""``SITE.toml``: what it holds, and a line for each thing to mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft.deployment.site_file import load_site_file
from fedpeft.errors import ConfigError

MakeSite = Callable[..., Path]


def test_a_site_is_a_run_of_its_own_under_its_policy(make_site: MakeSite, tmp_path: Path) -> None:
    found = load_site_file(make_site(privacy={"max_records_per_unit": 3}))
    assert found.policy.identity == "site0"
    (site,) = found.config.sites
    assert (site.name, site.declared_units) == ("site0", 40)
    assert site.files == ((tmp_path / "site0.jsonl").resolve(),)
    privacy = found.config.privacy
    assert (privacy.unit, privacy.epsilon, privacy.delta) == ("record", 8.0, 1e-5)
    assert privacy.max_records_per_unit == 3
    assert found.config.run.seed is None
    assert found.ledger == tmp_path / "ledger" / "site0.sqlite"


def test_an_organization_says_which_names_of_tasks_are_public(make_site: MakeSite) -> None:
    assert load_site_file(make_site(synthesis={"tasks": ["colour"]})).config.synthesis.tasks == ("colour",)


def test_everything_private_is_known(make_site: MakeSite, tmp_path: Path) -> None:
    names = {path.resolve() for path in load_site_file(make_site()).private_paths()}
    assert names == {
        tmp_path.resolve() / name
        for name in ("site0.jsonl", "policy.toml", "SITE.toml", "ledger", "ledger/site0.sqlite")
    }


def test_what_the_site_loads_is_known(make_site: MakeSite, tmp_path: Path) -> None:
    backbone, package = load_site_file(make_site()).fixed_paths()
    assert backbone == (tmp_path / "backbone").resolve()
    assert (package / "deployment").is_dir()


def test_the_cache_of_a_hub_id_is_private(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/srv/hf")
    file = load_site_file(make_site(site={"path": None, "dataset": "some/id"}, data={"source": "hub"}))
    assert Path("/srv/hf/datasets") in file.private_paths()


def test_paths_start_at_the_file(make_site: MakeSite, tmp_path: Path) -> None:
    keys = load_site_file(make_site(site={"folder": "state", "certificate": "ca.crt"})).keys
    assert (keys.folder, keys.certificate) == (tmp_path / "state", tmp_path / "ca.crt")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"site": {"courier": 5}}, "site.courier"),
        ({"site": {"sokket": "/x"}}, "site.sokket: is not a key of [site]; choose one of"),
        ({"site": {"superlink": "https://x"}}, "site.superlink"),
        ({"site": {"path": "absent.jsonl", "dataset": "hub/id"}}, "site.dataset"),
        (
            {"training": {"learning_rate": 0.1}},
            "training.learning_rate: is the coordinator's or the policy's",
        ),
        ({"privacy": {"epsilon": 100.0}}, "privacy.epsilon: is the coordinator's or the policy's"),
        ({"synthesis": {"generator": "pool"}}, "synthesis.generator: is the coordinator's or the policy's"),
        ({"run": {"seed": 3}}, "run.seed: is the coordinator's or the policy's"),
        ({"federation": {"rounds": 3}}, "federation: is not a section of a SITE.toml"),
        ({"model": {"dtype": "int8"}}, "model.dtype"),
        ({"policy": {"epsilon": -1.0}}, "policy.toml: epsilon"),
    ],
)
def test_what_is_wrong_is_named(make_site: MakeSite, changes: dict, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site_file(make_site(**changes))
    assert any(line in problem for problem in caught.value.problems), caught.value.problems


def test_a_seed_never_reaches_a_deployed_site(make_site: MakeSite) -> None:
    """Not even where the refusal of the key is forgotten."""
    from fedpeft.deployment import site_file

    raw = {"site": {"path": "a"}, "run": {"seed": 3, "threads": 1}}
    policy = load_site_file(make_site()).policy
    assert site_file._as_run(raw, policy)["run"] == {"threads": 1}


def test_a_table_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "SITE.toml"
    path.write_text("site = 5\n")
    with pytest.raises(ConfigError, match=r"write it as a table \[site\]"):
        load_site_file(path)
