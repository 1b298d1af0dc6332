# SPDX-License-Identifier: Apache-2.0
"""Events survive a round trip exactly, and nothing but an event of ours is read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpeft.errors import EventError
from fedpeft.privacy.events import check_event, check_name, event_from_json, event_to_json
from fedpeft.types import PrivacyEvent

GOOD = {
    "kind": "poisson-gaussian",
    "noise_multiplier": 1.1,
    "sampling_rate": 0.1,
    "steps": 3,
    "unit": "record",
}


@given(
    multiplier=st.floats(0.1, 1e6),
    rate=st.floats(0, 1, exclude_min=True),
    steps=st.integers(1, 1_000_000),
    unit=st.sampled_from(["record", "patient", "Fall-Nr. ä"]),
)
@settings(max_examples=50, deadline=None)
def test_round_trip_is_exact(multiplier, rate, steps, unit):
    event = PrivacyEvent("poisson-gaussian", multiplier, rate, steps, unit)
    assert event_from_json(event_to_json(event)) == event


def test_the_text_names_every_field():
    event = PrivacyEvent("gaussian", 2.0, 1.0, 5, "record")
    assert json.loads(event_to_json(event)) == {
        "kind": "gaussian",
        "noise_multiplier": 2.0,
        "sampling_rate": 1.0,
        "steps": 5,
        "unit": "record",
    }


def test_whole_numbers_become_python_floats():
    event = event_from_json(json.dumps(GOOD | {"noise_multiplier": 2, "sampling_rate": 1}))
    assert type(event.noise_multiplier) is float
    assert type(event.sampling_rate) is float


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "laplace"}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": ["gaussian"]}, "kind"),
        ({"noise_multiplier": 0}, "noise_multiplier"),
        ({"noise_multiplier": 0.0999}, "noise_multiplier"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": 1.1e6}, "noise_multiplier"),
        ({"noise_multiplier": 10**400}, "noise_multiplier"),
        ({"noise_multiplier": "1.1"}, "noise_multiplier"),
        ({"noise_multiplier": True}, "noise_multiplier"),
        ({"noise_multiplier": None}, "noise_multiplier"),
        ({"sampling_rate": 0.0}, "sampling_rate"),
        ({"sampling_rate": 1.0000001}, "sampling_rate"),
        ({"sampling_rate": True}, "sampling_rate"),
        ({"kind": "gaussian"}, "sampling_rate"),
        ({"steps": 0}, "steps"),
        ({"steps": -3}, "steps"),
        ({"steps": 3.0}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 1_000_001}, "steps"),
        ({"unit": ""}, "unit"),
        ({"unit": 7}, "unit"),
        ({"unit": "a\nb"}, "unit"),
        ({"unit": "x" * 201}, "unit"),
        ({"module": "os"}, "module"),
    ],
)
def test_a_bad_field_is_refused_by_name(change, named):
    with pytest.raises(EventError, match=named) as caught:
        event_from_json(json.dumps(GOOD | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_key_is_refused(missing):
    with pytest.raises(EventError, match=missing):
        event_from_json(json.dumps({key: value for key, value in GOOD.items() if key != missing}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"event"',
        "[" * 100_000,
        json.dumps(GOOD).replace("1.1", "NaN"),
        json.dumps(GOOD).replace("1.1", "Infinity"),
        json.dumps(GOOD).replace("1.1", "1e999"),
        json.dumps(GOOD).replace('"steps": 3', '"steps": 1, "steps": 3'),
        json.dumps(GOOD) + "{}",
    ],
)
def test_what_is_not_strict_json_is_refused(text):
    with pytest.raises(EventError):
        event_from_json(text)


def test_writing_checks_too():
    with pytest.raises(EventError, match="noise_multiplier"):
        event_to_json(PrivacyEvent("gaussian", float("nan"), 1.0, 1, "record"))


@pytest.mark.parametrize("name", ["", "a\x00b", "a\ud800", "x" * 201, 3, None])
def test_names_are_short_and_printable(name):
    with pytest.raises(EventError, match="run_id"):
        check_name("run_id", name)


def test_a_good_event_passes():
    check_event(PrivacyEvent(**GOOD))
    check_name("run_id", "demo/site-1/round 7")
