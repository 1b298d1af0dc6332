# SPDX-License-Identifier: Apache-2.0
"""What every selector in its folder promises."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import fedpeft.selection
from fedpeft.config import option_names
from fedpeft.errors import UserError
from fedpeft.selection.base import Inputs, Selection, Selector, find
from fedpeft.selection.trials import Effort, Outcome
from fedpeft.stage_settings import SelectionSettings
from fedpeft.synthesis.base import Tally

NAMES = option_names("selection.selector")
FORBIDDEN = ("fedpeft.site", "fedpeft.privacy.ledger", "fedpeft.privacy.mechanism", "fedpeft.federation")


class KnownTrials:
    """Stands for trials: blocks 4 and 5 of 8 are best, each other block costs."""

    blocks = tuple(range(8))

    def block_scores(self) -> tuple[float, ...]:
        return (0.0,) * 4 + (1.0, 1.0) + (0.0,) * 2

    def run(self, layers: tuple[int, ...], effort: Effort) -> Outcome:
        loss = 10.0 - 4 * len({4, 5} & set(layers)) + len(set(layers) - {4, 5})
        return Outcome((loss,) * effort.seeds, len(layers))


def known_votes(size: int) -> Tally:
    """Blocks 4 and 5 have more votes than noise makes, whatever each record votes for."""
    return Tally(np.array([9.0, 9, 9, 9, 90, 80, 9, 9]) * size**0.5, 2.0)


def choose(name: str, **settings: object) -> Selection:
    chosen = SelectionSettings(selector=name, **settings)
    return find(name).choose(Inputs(tuple(range(8)), chosen, KnownTrials(), rounds=6, poll=known_votes))


@pytest.mark.parametrize("name", NAMES)
class TestSelector:
    def test_is_final_and_documented(self, name: str) -> None:
        selector = type(find(name))
        assert selector.__mro__[1] is Selector
        assert getattr(selector, "__final__", False)
        assert inspect.getdoc(inspect.getmodule(selector))
        assert not vars(find(name))

    @pytest.mark.parametrize("seed", [0, 1])
    def test_chooses_blocks_that_there_are_and_says_why(self, name: str, seed: int) -> None:
        found = choose(name, seed=seed)
        assert list(found.layers) == sorted(set(found.layers))
        assert found.layers
        assert 0 <= found.layers[0] <= found.layers[-1] < 8
        assert found.why
        assert choose(name, seed=seed) == found

    def test_a_size_holds_or_is_refused(self, name: str) -> None:
        found = choose(name, size=2)
        assert all(len(layers) == 2 for layers in found.rounds or ())
        assert len(found.layers) in (2, 8)
        if name != "all":
            with pytest.raises(UserError, match=r"selection\.size = 9: must be at most 8"):
                choose(name, size=9)

    def test_says_whether_it_needs_rows(self, name: str) -> None:
        inputs = Inputs(tuple(range(8)), SelectionSettings(selector=name))
        if find(name).needs_rows:
            with pytest.raises(UserError, match=r"selection\.data"):
                find(name).choose(inputs)
        elif find(name).asks_sites:
            with pytest.raises(UserError, match=r"selection\.selector"):
                find(name).choose(inputs)
        else:
            assert find(name).choose(inputs).layers

    def test_says_whether_it_asks_sites(self, name: str) -> None:
        asked: list[int] = []

        def poll(size: int) -> Tally:
            asked.append(size)
            return known_votes(size)

        find(name).choose(Inputs(tuple(range(8)), SelectionSettings(selector=name), KnownTrials(), poll=poll))
        assert len(asked) == int(find(name).asks_sites)

    def test_rounds_that_differ_train_nothing_else(self, name: str) -> None:
        found = choose(name, size=3)
        assert len(found.rounds) in (0, 6)
        assert {block for blocks in found.rounds for block in blocks} in (set(), set(found.layers))


def test_the_best_of_known_outcomes_is_chosen() -> None:
    assert choose("selft").layers == (4, 5)
    assert choose("vote").layers == (4, 5)


def reaches(source: str) -> set[str]:
    """The forbidden modules that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {f for f in FORBIDDEN for name in names if name == f or name.startswith(f + ".")}


def test_nothing_private_can_be_reached_from_the_folder() -> None:
    files = sorted(Path(fedpeft.selection.__file__).parent.glob("*.py"))
    assert len(files) > 8
    assert {file.name: reaches(file.read_text("utf-8")) for file in files} == {f.name: set() for f in files}


def test_a_selector_that_looks_at_a_site_would_be_found() -> None:
    assert reaches("from fedpeft.site.site import Site") == {"fedpeft.site"}
    assert reaches("from fedpeft.privacy import ledger") == {"fedpeft.privacy.ledger"}
