# SPDX-License-Identifier: Apache-2.0
"""Charges are written ahead, repeated requests get their release again, and refusals change nothing."""

import shutil
import threading
import time
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.ledger import Ledger, show, verify
from fedpeft.types import PrivacyEvent, RefusalCode

NAN, INF = float("nan"), float("inf")


def test_a_charge_is_durable_before_the_release(ledger, tools, path):
    before = ledger.head
    assert ledger.charge(tools.request(local_steps=2)) is None
    assert tools.open(path).spent() == [PrivacyEvent("poisson-gaussian", 4.0, 0.5, 2, "record")]
    assert ledger.head != before


def test_a_repeated_request_gets_the_same_bytes_and_costs_nothing(ledger, tools, pay, path):
    pay(ledger, tools.request(), b"\x00\x01release")
    before = tools.dump(path)
    assert ledger.charge(tools.request()) == b"\x00\x01release"
    # Honest repetitions differ in the echoed head.
    assert ledger.charge(tools.request(ledger_head=ledger.head)) == b"\x00\x01release"
    assert tools.open(path).charge(tools.request()) == b"\x00\x01release"
    assert tools.dump(path) == before


def test_a_charge_without_a_release_is_paid_again(ledger, tools, pay, path):
    assert ledger.charge(tools.request()) is None
    restarted = tools.open(path)
    pay(restarted, tools.request())
    assert len(restarted.spent()) == 2
    with pytest.raises(Refusal, match="3 are left"):
        restarted.charge(tools.request("run/2", local_steps=4))
    assert restarted.charge(tools.request()) == b"release"


def test_crash_charges_count_against_the_run(ledger, tools):
    for _ in range(5):
        assert ledger.charge(tools.request()) is None
    with pytest.raises(Refusal) as caught:
        ledger.charge(tools.request())
    assert caught.value.code is RefusalCode.BUDGET


def test_spent_by_run(ledger, tools, pay):
    ledger.commit(tools.schedule(run_id="second", steps=1))
    pay(ledger, tools.request())
    pay(ledger, tools.request("second/1", run_id="second"))
    assert len(ledger.spent()) == 2
    assert len(ledger.spent("second")) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"run_id": "other"}, RefusalCode.POLICY),
        ({"noise_multiplier": 3.9}, RefusalCode.POLICY),
        ({"noise_multiplier": 4.1}, RefusalCode.POLICY),
        ({"sampling_rate": 0.4}, RefusalCode.POLICY),
        ({"local_steps": 5}, RefusalCode.BUDGET),
        ({"local_steps": 0}, RefusalCode.MALFORMED),
        ({"local_steps": -1}, RefusalCode.MALFORMED),
        ({"local_steps": 1.0}, RefusalCode.MALFORMED),
        ({"noise_multiplier": NAN}, RefusalCode.MALFORMED),
        ({"noise_multiplier": INF}, RefusalCode.MALFORMED),
        ({"noise_multiplier": -4.0}, RefusalCode.MALFORMED),
        ({"sampling_rate": 0.0}, RefusalCode.MALFORMED),
        ({"sampling_rate": 1.5}, RefusalCode.MALFORMED),
        ({"request_id": ""}, RefusalCode.MALFORMED),
        ({"request_id": "a\x00b"}, RefusalCode.MALFORMED),
        ({"request_id": "\ud800"}, RefusalCode.MALFORMED),
        ({"run_id": "x" * 300}, RefusalCode.MALFORMED),
        ({"request_id": "run/1", "learning_rate": 2.0}, RefusalCode.REPLAY),
        ({"request_id": "run/1", "adapter": np.ones(3, dtype=np.float32)}, RefusalCode.REPLAY),
        ({"request_id": "run/1", "scales": (2.0, 1.0)}, RefusalCode.REPLAY),
        ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
        ({"ledger_head": "0" * 64, "run_id": "other"}, RefusalCode.ROLLBACK),
    ],
)
def test_a_refused_request_leaves_the_ledger_as_it_was(ledger, tools, pay, path, change, code):
    pay(ledger, tools.request())
    before = tools.dump(path)
    with pytest.raises(Refusal) as caught:
        ledger.charge(tools.request(**({"request_id": "run/2"} | change)))
    assert caught.value.code is code
    assert tools.dump(path) == before
    pay(ledger, tools.request("run/3", local_steps=4))  # and goes on as if nothing had happened


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unit": "patient"}, RefusalCode.POLICY),
        ({"unit": ""}, RefusalCode.MALFORMED),
        ({"steps": 0}, RefusalCode.MALFORMED),
        ({"steps": 10**9}, RefusalCode.MALFORMED),
        ({"noise_multiplier": NAN}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
        ({"sampling_rate": 2.0}, RefusalCode.MALFORMED),
        ({"run_id": ""}, RefusalCode.MALFORMED),
        ({"run_id": "run", "steps": 6}, RefusalCode.REPLAY),
        ({"run_id": "run", "noise_multiplier": 5.0}, RefusalCode.REPLAY),
        ({"noise_multiplier": 0.5, "steps": 100}, RefusalCode.BUDGET),
    ],
)
def test_a_refused_commitment_leaves_the_ledger_as_it_was(ledger, tools, path, change, code):
    before = tools.dump(path)
    with pytest.raises(Refusal) as caught:
        ledger.commit(tools.schedule(**({"run_id": "second"} | change)))
    assert caught.value.code is code
    assert tools.dump(path) == before


def test_a_commitment_is_idempotent(ledger, tools, path):
    before = tools.dump(path)
    again = ledger.commit(tools.schedule())
    assert again == tools.open(path).commit(tools.schedule())
    assert tools.dump(path) == before


def test_nothing_new_after_the_policys_last_day(ledger, tools, pay, path):
    pay(ledger, tools.request())
    last = tools.noon.replace(month=12, day=31, hour=23)
    pay(tools.open(path, clock=lambda: last), tools.request("run/2"))
    expired = tools.open(path, clock=lambda: last + timedelta(hours=1))
    before = tools.dump(path)
    for ask in (
        lambda: expired.commit(tools.schedule(run_id="second")),
        lambda: expired.charge(tools.request("run/3")),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.code is RefusalCode.EXPIRED
    assert expired.charge(tools.request()) == b"release"  # what has left may leave again
    assert tools.dump(path) == before


def test_stages_that_are_not_allowed(tools, path):
    ledger = tools.open(path, tools.policy(stages=("selection",)))
    with pytest.raises(Refusal) as caught:
        ledger.commit(tools.schedule())
    assert caught.value.code is RefusalCode.POLICY


def test_a_restored_backup_is_noticed(ledger, tools, pay, path, tmp_path):
    pay(ledger, tools.request())
    old_head = ledger.head
    shutil.copy(path, tmp_path / "backup")
    pay(ledger, tools.request("run/2", ledger_head=old_head))
    new_head = ledger.head
    pay(ledger, tools.request("run/3", ledger_head=old_head))  # an older head is no contradiction
    shutil.copy(tmp_path / "backup", path)
    restored = tools.open(path)
    with pytest.raises(Refusal) as caught:
        restored.charge(tools.request("run/4", ledger_head=new_head))
    assert caught.value.code is RefusalCode.ROLLBACK
    pay(restored, tools.request("run/4", ledger_head=old_head))


def test_the_first_head_can_be_echoed(ledger, tools, pay):
    pay(ledger, tools.request(ledger_head=ledger.head))


def test_heads_depend_on_the_request_the_ledger_and_the_time_only(tools, pay, tmp_path):
    heads = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ledger = tools.open(tmp_path / name / "ledger.sqlite")
        ledger.commit(tools.schedule())
        pay(ledger, tools.request(), name.encode())
        heads.add(ledger.head)
    assert len(heads) == 1


def test_a_release_needs_a_charge(ledger, tools, path):
    with pytest.raises(LedgerError, match="not in work"):
        ledger.store("run/1", b"release")
    ledger.charge(tools.request())
    with pytest.raises(LedgerError, match="not in work"):
        ledger.store("run/2", b"release")
    ledger.abandon("run/1")
    with pytest.raises(LedgerError, match="not in work"):
        ledger.store("run/1", b"release")
    assert not any(row.released for row in show(path))


def test_a_request_given_up_in_this_thread_cannot_be_stored_later(ledger, tools, path):
    ledger.charge(tools.request())
    other = tools.open(path)
    assert other.charge(tools.request()) is None  # the same thread does not wait for itself
    with pytest.raises(LedgerError, match="not in work"):
        ledger.store("run/1", b"first")
    other.store("run/1", b"second")
    assert ledger.charge(tools.request()) == b"second"


def test_duplicates_in_threads_wait_and_get_the_one_release(ledger, tools):
    results = []

    def ask(number):
        stored = ledger.charge(tools.request())
        if stored is None:
            time.sleep(0.2)  # the others are waiting by now
            ledger.store("run/1", f"release of {number}".encode())
            stored = b"computed"
        results.append(stored)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(b"computed") == 1
    assert len(set(results)) == 2
    assert len(ledger.spent()) == 1


def test_after_an_abandoned_request_the_next_thread_pays(ledger, tools):
    assert ledger.charge(tools.request()) is None
    ledger.abandon("run/1")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ledger.charge(tools.request())))
    thread.start()
    thread.join()
    assert answers == [None]
    assert len(ledger.spent()) == 2


def test_waiting_has_an_end(ledger, tools, path):
    impatient = tools.open(path, wait_s=0.05)
    assert ledger.charge(tools.request()) is None
    before, codes = tools.dump(path), []

    def ask():
        with pytest.raises(Refusal) as caught:
            impatient.charge(tools.request("run/2"))
        codes.append(caught.value.code)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert codes == [RefusalCode.UNAVAILABLE]
    assert tools.dump(path) == before


def test_old_payloads_can_be_forgotten_but_not_their_requests(ledger, tools, pay, path):
    thrifty = tools.open(path, kept_releases=2)
    for number in range(1, 5):
        pay(thrifty, tools.request(f"run/{number}"), str(number).encode())
    assert thrifty.charge(tools.request("run/4")) == b"4"
    assert thrifty.charge(tools.request("run/3")) == b"3"
    before = tools.dump(path)
    with pytest.raises(Refusal) as caught:
        thrifty.charge(tools.request("run/2"))
    assert caught.value.code is RefusalCode.REPLAY
    assert tools.dump(path) == before
    assert verify(path).ok


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),  # request id
        st.sampled_from(["run", "run", "second", "none"]),
        st.integers(-1, 4),  # local steps
        st.sampled_from([4.0, 4.0, 3.0]),  # noise multiplier
        st.sampled_from(["store", "store", "crash", "abandon"]),
    ),
    max_size=25,
)


@given(REQUESTS)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_sequence_of_requests_exceeds_what_was_committed(tmp_path_factory, tools, requests):
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger = tools.open(path)
    limits = {"run": 5, "second": 3}
    for run_id, number in limits.items():
        ledger.commit(tools.schedule(run_id=run_id, steps=number))
    released: dict[str, bytes] = {}
    for number, (name, run_id, local_steps, multiplier, fate) in enumerate(requests):
        request = tools.request(name, run_id=run_id, local_steps=local_steps, noise_multiplier=multiplier)
        try:
            stored = ledger.charge(request)
        except Refusal:
            continue
        if stored is not None:
            assert stored == released[name]
            continue
        assert name not in released
        if fate == "store":
            released[name] = str(number).encode()
            ledger.store(name, released[name])
        elif fate == "abandon":
            ledger.abandon(name)
        else:
            ledger = tools.open(path)
    for run_id, limit in limits.items():
        assert sum(event.steps for event in ledger.spent(run_id)) <= limit
    assert {row.request_id for row in show(path)} >= released.keys()
    assert isinstance(Ledger.open(path, tools.policy()), Ledger)  # the chain holds
    ledger.close()
