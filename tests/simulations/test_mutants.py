# SPDX-License-Identifier: Apache-2.0
"""The list of mutants keeps up with the code, and the runner tells killed ones from survivors."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load():
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "simulations" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mutants = load()


@pytest.mark.parametrize("mutant", mutants.load(), ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_made(mutant):
    assert mutants.fault(mutant, ROOT) == ""
    assert mutant.old != mutant.new
    assert mutant.why


@pytest.fixture
def small(tmp_path):
    """A repository of one function and its test."""
    (tmp_path / "double.py").write_text("def double(x):\n    return x + x\n", "utf-8")
    (tmp_path / "test_double.py").write_text(
        "from double import double\n\n\ndef test_double():\n    assert double(3) == 6\n", "utf-8"
    )
    return tmp_path


MUTANT = mutants.Mutant("product", "-", "double.py", "x + x", "x * x", ("test_double.py",))


def test_a_mutant_that_a_test_notices_is_killed_and_undone(small):
    before = (small / "double.py").read_text("utf-8")
    assert mutants.run(MUTANT, small) == "killed by test_double.py::test_double"
    assert (small / "double.py").read_text("utf-8") == before


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"new": "2 * x"}, "its tests passed"),
        ({"old": "x - x"}, "its text stands 0 times"),
        ({"old": "x"}, "its text stands 3 times"),
        ({"file": "absent.py"}, "absent.py is not there"),
        ({"tests": ("test_absent.py",)}, "test_absent.py is not there"),
        ({"new": "x +"}, "its tests passed (pytest ended with 2"),  # broken code proves nothing
    ],
)
def test_a_mutant_that_nothing_notices_survives(small, change, outcome):
    assert mutants.run(replace(MUTANT, **change), small).startswith(outcome)
