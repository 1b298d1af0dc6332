# SPDX-License-Identifier: Apache-2.0
"""A policy is read strictly, and everything that is wrong with it is told at once."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from fedpeft.errors import ConfigError
from fedpeft.privacy.policy import Policy, load_policy

GOOD = """
identity = "st-mary"
unit = "patient"
declared_units = 4000
epsilon = 8
delta = 1e-5
expires = 2030-12-31
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path):
    policy = load_policy(write(tmp_path, GOOD))
    assert policy.epsilon == 8.0
    assert policy.expires == date(2030, 12, 31)
    assert policy.stages == ("training",)
    assert policy.sub_budgets == ()
    assert policy.crash_reserve == 0


def test_all_keys(tmp_path):
    extra = 'stages = ["training", "selection"]\nsub_budgets = [5, 3.0]\ncrash_reserve = 2\n'
    policy = load_policy(write(tmp_path, GOOD + extra))
    assert policy.stages == ("training", "selection")
    assert policy.sub_budgets == (5.0, 3.0)
    assert policy.crash_reserve == 2


def test_is_immutable(tmp_path):
    policy = load_policy(write(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        policy.epsilon = 80.0


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("epsilon = 8", "epsilon = 0", "epsilon = 0"),
        ("epsilon = 8", "epsilon = -1", "epsilon = -1"),
        ("epsilon = 8", "epsilon = inf", "epsilon = inf"),
        ("epsilon = 8", "epsilon = nan", "epsilon = nan"),
        ("epsilon = 8", 'epsilon = "8"', "epsilon = '8'"),
        ("epsilon = 8", "epsilon = true", "epsilon = True"),
        ("delta = 1e-5", "delta = 0.0", "delta = 0.0"),
        ("delta = 1e-5", "delta = 1.0", "delta = 1.0"),
        ("expires = 2030-12-31", "", "expires: is required"),
        ("expires = 2030-12-31", 'expires = "never"', "expires = 'never'"),
        ("expires = 2030-12-31", "expires = 2030-12-31T10:00:00Z", "expires = "),
        ("declared_units = 4000", "declared_units = 0", "declared_units = 0"),
        ("declared_units = 4000", "declared_units = 1.5", "declared_units = 1.5"),
        ('unit = "patient"', 'unit = ""', "unit = ''"),
        ('unit = "patient"', 'unit = "a\\u0000b"', "unit = "),
        ('identity = "st-mary"', 'identity = "../other"', "identity = '../other'"),
        ("delta = 1e-5", 'delta = 1e-5\nstages = ["inference"]', "stages.0 = 'inference'"),
        ("delta = 1e-5", "delta = 1e-5\nsub_budgets = [5.0, 3.5]", "sum 8.5 is above epsilon = 8"),
        ("delta = 1e-5", "delta = 1e-5\nsub_budgets = [0.0]", "sub_budgets.0 = 0.0"),
        ("delta = 1e-5", "delta = 1e-5\ncrash_reserve = -1", "crash_reserve = -1"),
        ("delta = 1e-5", "delta = 1e-5\nepsilom = 3", "epsilom: is not a key"),
    ],
)
def test_a_bad_value_is_named(tmp_path, old, new, named):
    with pytest.raises(ConfigError) as caught:
        load_policy(write(tmp_path, GOOD.replace(old, new)))
    (problem,) = caught.value.problems
    assert named in problem
    assert "\n" not in problem


def test_all_problems_together(tmp_path):
    text = GOOD.replace("epsilon = 8", "epsilon = 0").replace("delta = 1e-5", "delta = 2.0") + "extra = 1\n"
    with pytest.raises(ConfigError) as caught:
        load_policy(write(tmp_path, text))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("content", [b"epsilon = ", b"\xff\xfe"])
def test_not_toml(tmp_path, content):
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"policy\.toml: is not"):
        load_policy(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path)


def test_a_policy_can_be_made_without_a_file():
    policy = Policy(identity="a", unit="record", declared_units=10, epsilon=1.0, delta=1e-3, expires=date.max)
    assert policy.sub_budgets == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x = " + "[" * 4000, "nested too deeply"),
        ("x = " + "9" * 6000, "shorten it"),
    ],
)
def test_what_the_reader_gives_up_on_is_told_in_a_line(tmp_path, line, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load_policy(write(tmp_path, f"{GOOD}{line}\n"))
    (problem,) = caught.value.problems
    assert len(problem) < 400
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "a\0b")
