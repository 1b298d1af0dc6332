# SPDX-License-Identifier: Apache-2.0
"""The sentence to sign says what is true of the run, and what it leaves open."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpeft.config import load_config
from fedpeft.guarantee import cost_of_rows, guarantee, organization_guarantee
from fedpeft.synthesis.dataset import SyntheticDataset
from fedpeft.testing import tiny_config
from tests.synthesis.test_dataset import ROWS, certificate


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    SyntheticDataset.certified(ROWS, certificate()).write(tmp_path / "synthetic")
    return tmp_path / "synthetic"


def test_floating_point_attacks_are_open_where_sums_are_floats(tmp_path: Path) -> None:
    assert "floating-point attacks" not in guarantee(tiny_config(tmp_path / "grid"))
    floats = tiny_config(tmp_path / "float", overrides=['privacy.arithmetic="float"'])
    assert "floating-point attacks" in guarantee(floats)


def test_a_deployment_names_what_it_cannot_know(tmp_path: Path) -> None:
    assert "SITE.toml" not in guarantee(tiny_config(tmp_path))
    (tmp_path / "sites.toml").write_text(
        'data.source = "sites"\n[[sites]]\nname = "north"\ndeclared_units = 100\n', "utf-8"
    )
    assert "stands in its SITE.toml" in guarantee(load_config(tmp_path / "sites.toml"))


@pytest.mark.parametrize(("number", "text"), [(8.0, "8"), (1e-5, "1e-05"), (8.0000004, "8.00001")])
def test_what_is_printed_is_never_below_what_is_meant(tmp_path: Path, number: float, text: str) -> None:
    key = "delta" if number < 1 else "epsilon"
    config = tiny_config(tmp_path, overrides=[f"privacy.{key}={number!r}"])
    assert text in guarantee(config)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([], None),
        (['model.dtype="bfloat16"'], "Rounding in bfloat16,"),
        (['model.quantization="4bit"'], "Rounding in 4-bit kernels,"),
        (['model.quantization="4bit"', 'model.dtype="bfloat16"'], "Rounding in 4-bit kernels and bfloat16,"),
    ],
)
def test_coarse_arithmetic_is_named_in_the_guarantee(
    tmp_path: Path, overrides: list[str], named: str | None
) -> None:
    text = guarantee(tiny_config(tmp_path, overrides=overrides))
    assert ("Rounding in" in text) == (named is not None)
    assert named is None or named in text


def test_an_organizations_own_sentence_has_its_ledgers_figures_and_its_settings(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=['model.dtype="bfloat16"', "evaluation.public=false"])
    text = organization_guarantee(config, 1.0000001, 2e-6)
    assert "this organization sent in this run is (1.00001, 2e-06)-differentially private" in text
    assert "Rounding in bfloat16" in text
    assert "NOT PRIVATE" not in text  # whose records were measured, and how, is the coordinator's
    assert text.endswith("a compromised host.")


def test_what_paid_rows_cost_is_in_the_sentence(tmp_path: Path, synthetic: Path) -> None:
    tiny_config(tmp_path)
    plain = load_config(tmp_path / "run.toml")
    assert cost_of_rows(plain) is None
    assert "It begins from synthetic records" not in guarantee(plain)
    paid = load_config(tmp_path / "run.toml", [f'selection.data="{synthetic}"'])
    assert cost_of_rows(paid) == (certificate().epsilon, 1e-5)
    assert "It begins from synthetic records whose making cost" in guarantee(paid)


def test_rows_that_nobody_paid_for_cost_nothing(tmp_path: Path) -> None:
    free = certificate(contributors={}, epsilon=0.0, run_id="")
    SyntheticDataset.certified(ROWS, free).write(tmp_path / "free")
    tiny_config(tmp_path)
    assert cost_of_rows(load_config(tmp_path / "run.toml", ['selection.data="free"'])) is None
