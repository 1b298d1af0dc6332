# SPDX-License-Identifier: Apache-2.0
"""A preset fills in what is left open and can touch nothing that a guarantee rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpeft.config import load_config, option_names
from fedpeft.config.presets import method_facts
from fedpeft.errors import ConfigError
from fedpeft.methods.base import MAY_SET, Method, find
from fedpeft.plan import make_plan
from fedpeft.testing import tiny_config

METHODS = option_names("method")
REFERENCES = ("dp-forward", "local-only", "non-private", "pooled", "pooled-dp")
ABOUT_THE_GUARANTEE = ("epsilon", "delta", "unit", "arithmetic", "seed", "public", "missing_unit", "crash")


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    tiny_config(folder, overrides=["adapter.layers=[1]"])
    return folder / "run.toml"


def configured(run_file: Path, method: str, *overrides: str):
    return load_config(run_file, [f'method="{method}"', "adapter.layers=[1]", *overrides])


def without_blocks(method: str) -> list[str]:
    """A selector chooses among all blocks."""
    return ['adapter.layers="all"'] if "selft" in method else []


def test_every_system_of_the_papers_is_there() -> None:
    named = {"plain", "fedpeft", "dp-selft", "fedpeft-selft", "dp-lora", "dp-bitfit", "anadp", *REFERENCES}
    assert set(METHODS) == named


@pytest.mark.parametrize("name", METHODS)
def test_a_preset_sets_what_it_may_and_says_where_it_comes_from(name: str) -> None:
    method = find(name)
    assert set(method.sets) <= MAY_SET
    assert method.source
    assert getattr(method, "__final__", False)


def test_what_presets_may_set_is_not_about_the_guarantee() -> None:
    assert not [key for key in MAY_SET if any(word in key for word in ABOUT_THE_GUARANTEE)]
    assert not [key for key in MAY_SET if key.startswith(("data.", "sites", "run.", "evaluation.", "model."))]


def test_a_preset_that_would_weaken_a_guarantee_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"must not set privacy\.epsilon"):

        class _Cheat(Method):
            source = "nowhere"
            sets = {"privacy.epsilon": 100.0}  # noqa: RUF012


def test_a_reference_that_claims_a_guarantee_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="say why"):

        class _Cheat(Method):
            source = "nowhere"
            how = "unprotected"


@pytest.mark.parametrize("name", METHODS)
def test_unit_epsilon_and_delta_are_those_of_the_file(run_file: Path, name: str) -> None:
    plain = configured(run_file, "plain")
    config = configured(run_file, name, *without_blocks(name))
    assert config.privacy.epsilon == plain.privacy.epsilon
    assert (config.delta, config.privacy.unit, config.run) == (plain.delta, plain.privacy.unit, plain.run)
    for key, value in find(name).sets.items():
        section, _, word = key.partition(".")
        assert getattr(getattr(config, section), word) == value


def test_a_key_of_the_file_wins(run_file: Path) -> None:
    config = configured(run_file, "fedpeft", 'privacy.allocation="anadp"')
    assert config.privacy.allocation == "anadp"
    assert config.federation.lambda1 == find("fedpeft").sets["federation.lambda1"]
    facts = method_facts(config)
    assert facts["changed"] == {"privacy.allocation": "anadp"}
    assert "privacy.allocation" not in facts["sets"]
    assert facts["sets"]["federation.lambda1"] == config.federation.lambda1


def test_an_unknown_method_is_told_with_all_others(run_file: Path) -> None:
    told = r'method = "dp-lorra": must be "anadp" or .*did you mean "dp-lora"'
    with pytest.raises(ConfigError, match=told):
        configured(run_file, "dp-lorra")


@pytest.mark.parametrize("name", METHODS)
def test_the_plan_prices_every_method(run_file: Path, name: str) -> None:
    config = configured(run_file, name, *without_blocks(name))
    plan = make_plan(config)
    found = plan.to_json()
    assert found["trainable_parameters"] > 0
    assert found["bytes_a_round"] > 0
    assert found["method"]["name"] == name
    promised = found["epsilon"] is not None
    assert promised is find(name).has_epsilon
    if promised:
        assert found["epsilon"] == 8.0
        assert all(site["epsilon"] <= 8.0 and site["noise_multiplier"] > 0 for site in found["sites"])
    else:
        assert all(site["epsilon"] is None and site["noise_multiplier"] is None for site in found["sites"])
        assert (found["delta"], found["stages"]) == (None, {})
    assert found["guarantee"].startswith("none: ") is (name in REFERENCES)


def test_one_place_has_the_units_of_all_and_less_noise_for_each(run_file: Path) -> None:
    (one,) = make_plan(configured(run_file, "pooled-dp")).sites
    sites = make_plan(configured(run_file, "plain")).sites
    assert one.declared_units == sum(site.declared_units for site in sites)
    assert one.noise_multiplier == sites[0].noise_multiplier  # of one sum, where there are two otherwise


def test_dp_forward_is_priced_as_another_claim(run_file: Path) -> None:
    inputs = make_plan(configured(run_file, "dp-forward")).to_json()["method"]["inputs"]
    assert inputs["epsilon"] == 8.0
    assert inputs["sensitivity"] == 2.0
    with pytest.raises(ConfigError, match=r"adapter\.layers: trains block 0"):
        make_plan(configured(run_file, "dp-forward", "adapter.layers=[0, 1]"))


@pytest.mark.parametrize("name", REFERENCES)
def test_organizations_cannot_be_asked_for_a_reference(run_file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f'method = "{name}": is for simulations'):
        configured(run_file, name, 'data.source="sites"')
