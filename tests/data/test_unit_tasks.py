# SPDX-License-Identifier: Apache-2.0
"""Each unit has one task with a weight, or the site does not begin; and which unit is wrong stays there."""

import logging

import pytest

from fedpeft.data.site_data import SiteData
from fedpeft.data.unit_tasks import weights_of_units
from fedpeft.errors import DataError

WEIGHTS = {"colour": 0.25, "size": 1.0}


def site(**tasks):
    return SiteData("clinic", {}, [], 0.0, {unit: frozenset(of) for unit, of in tasks.items()})


def test_every_unit_has_the_weight_of_its_task():
    assert weights_of_units(site(ada=["size"], bob=["colour"]), WEIGHTS) == {"ada": 1.0, "bob": 0.25}


def test_without_weights_tasks_do_not_matter():
    assert weights_of_units(site(ada=["size", "colour"], bob=["age"]), {}) == {}


@pytest.mark.parametrize(
    ("tasks", "word"), [(["size", "colour"], "several tasks"), (["age"], "no weight"), ([""], "no weight")]
)
def test_what_is_wrong_is_told_without_telling_of_whom(tasks, word, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(DataError, match=word) as caught:
        weights_of_units(site(ada=["size"], lovelace=tasks, turing=tasks), WEIGHTS)
    assert len(caught.value.problems) == 1
    assert "clinic" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("lovelace", "turing", "age;", "colour", "2"))
    assert "lovelace" in caplog.text  # in this process's own log
