# SPDX-License-Identifier: Apache-2.0
"""What travels is exactly the tables of the module; reading refuses everything else."""

import gc
import weakref
from dataclasses import fields, replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.flower import delivering, messages
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.types import PrivacyEvent, PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest
from fedpeft.wire_types import narrow, widen

VECTOR = np.array([0.0, -0.0, 1e-45, 3.4e38, -1.5, np.pi], np.float32)
FACTS = SiteFacts("north", 3460, "record", 8.0, 1e-5, "ab" * 32)
VOTES = (("synthesis", 6.5 + 1e-13, 1), ("selection", 7.0, 2))
SCHEDULE = Schedule("run", ((1.1 + 1e-13, 60), (2.0, 3)), 0.1, "patient", "selection", VOTES)
REQUEST = TrainRequest(
    "run", "run:north:3", 3, 2, 0.1 + 0.2, 1.1, 1 / 3, (1.0, 0.1), "automatic", "cd" * 32, VECTOR, "ab" * 32
)
EVENT = PrivacyEvent("poisson-gaussian", 1.1, 1 / 3, 2, "record")
UPDATE = PrivateUpdate("run:north:3", VECTOR, EVENT, "ef" * 32)
VOTE = VoteRequest("run", "run:north:v", 6.5, "some-map", 2, VECTOR.reshape(3, 2), "ab" * 32)
HISTOGRAM = PrivateHistogram(
    "run:north:v", VECTOR, PrivacyEvent("gaussian", 6.5, 1.0, 1, "record"), "ef" * 32
)
EVALUATE = EvaluateRequest("run", "run:north:e", 3.5, "cd" * 32, VECTOR, "ab" * 32)
METRIC = PrivateMetric(
    "run:north:e", 0.1 + 0.2, 12.5, PrivacyEvent("gaussian", 3.5, 1.0, 1, "record"), "ef" * 32
)
DELIVERY = Delivery.of("run", "cd" * 32, VECTOR, b'{"epsilon": 8.0}', b"rank = 8", b'{"round": 1}')


def _encoded(value):
    match value:
        case SiteFacts():
            return messages.encode_facts(value)
        case Schedule():
            return messages.encode_schedule(value)
        case TrainRequest():
            return messages.encode_request(value, messages.encode_vector(value.adapter))
        case PrivateUpdate():
            return messages.encode_update(value)
        case VoteRequest():
            return messages.encode_vote(value, messages.encode_vector(value.bins.ravel()))
        case PrivateHistogram():
            return messages.encode_histogram(value)
        case EvaluateRequest():
            return messages.encode_evaluate(value, messages.encode_vector(value.adapter))
        case PrivateMetric():
            return messages.encode_metric(value)
        case Delivery():
            return delivering.encode_delivery(value)


CASES = [
    (FACTS, messages.decode_facts),
    (SCHEDULE, messages.decode_schedule),
    (REQUEST, messages.decode_request),
    (replace(REQUEST, task_weights=(("a", 0.1 + 0.2), ("b", 1.0))), messages.decode_request),
    (UPDATE, messages.decode_update),
    (VOTE, messages.decode_vote),
    (HISTOGRAM, messages.decode_histogram),
    (EVALUATE, messages.decode_evaluate),
    (METRIC, messages.decode_metric),
    (DELIVERY, delivering.decode_delivery),
]
IDS = [type(value).__name__ for value, _ in CASES]
WITH_VECTOR = [case for case in CASES if "vector" in _encoded(case[0])]
WITH_VECTOR_IDS = [type(value).__name__ for value, _ in WITH_VECTOR]


def _sent(content: RecordDict) -> RecordDict:
    """As it arrives: through Flower's own serializer."""
    return recorddict_from_proto(recorddict_to_proto(content))


def _same(left, right) -> bool:
    for field in fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                return False
        elif a != b or type(a) is not type(b):
            return False
    return True


def _code(decode, content) -> tuple[RefusalCode, str]:
    with pytest.raises(Refusal) as caught:
        decode(content)
    return caught.value.code, caught.value.detail


@pytest.mark.parametrize(("value", "decode"), CASES, ids=IDS)
class TestEveryKind:
    def test_arrives_as_it_was_bit_for_bit(self, value, decode):
        assert _same(decode(_sent(_encoded(value))), value)

    def test_another_protocol_version_is_refused(self, value, decode):
        for version in (0, 2, 1.0, True, "1"):
            content = _encoded(value)
            content["fedpeft"]["protocol"] = version
            assert _code(decode, content)[0] is RefusalCode.PROTOCOL

    def test_every_field_is_needed(self, value, decode):
        for name in set(_encoded(value)["fedpeft"]) - {"protocol"}:
            content = _encoded(value)
            del content["fedpeft"][name]
            assert _code(decode, content)[0] is RefusalCode.MALFORMED

    def test_a_field_more_is_refused(self, value, decode):
        content = _encoded(value)
        content["fedpeft"]["num-examples"] = 1234
        assert _code(decode, content) == (RefusalCode.MALFORMED, "fields")

    @pytest.mark.parametrize("record", [MetricRecord({"loss": 0.3}), ConfigRecord({}), ArrayRecord()])
    def test_a_record_more_is_refused(self, value, decode, record):
        content = _encoded(value)
        content["metrics"] = record
        assert _code(decode, content) == (RefusalCode.MALFORMED, "records")

    def test_every_field_has_one_type(self, value, decode):
        wrong = {str: 7, int: 1.0, float: 1, list: "1.0", bytes: "1"}
        for name, good in _encoded(value)["fedpeft"].items():
            for bad in {wrong[type(good)], b"bytes", True}:
                content = _encoded(value)
                content["fedpeft"][name] = bad
                assert _code(decode, content)[0] in (RefusalCode.MALFORMED, RefusalCode.PROTOCOL)

    def test_numbers_that_are_not_finite_are_refused(self, value, decode):
        for name, good in _encoded(value)["fedpeft"].items():
            for bad in (float("nan"), float("inf"), float("-inf")):
                content = _encoded(value)
                if type(good) is float:
                    content["fedpeft"][name] = bad
                elif type(good) is list and good and type(good[0]) is float:
                    content["fedpeft"][name] = [good[0], bad]
                else:
                    continue
                assert _code(decode, content) == (RefusalCode.MALFORMED, name)

    def test_another_kind_of_message_is_refused(self, value, decode):
        for other, _ in CASES:
            if type(other) is not type(value):
                assert _code(decode, _encoded(other)) == (RefusalCode.MALFORMED, "message")

    def test_empty_content_is_refused(self, value, decode):
        assert _code(decode, RecordDict())[0] is RefusalCode.PROTOCOL
        assert _code(decode, RecordDict({"fedpeft": ArrayRecord()}))[0] is RefusalCode.PROTOCOL


def test_tasks_and_their_weights_are_as_many():
    content = _encoded(replace(REQUEST, task_weights=(("a", 0.5), ("b", 1.0))))
    content["fedpeft"]["tasks"] = ["a"]
    assert _code(messages.decode_request, content) == (RefusalCode.MALFORMED, "tasks")


def test_only_these_fields_leave_a_site():
    """The egress contract, written down a second time: adding a field must be meant."""
    assert set(_encoded(FACTS)["fedpeft"]) == {
        "message", "protocol", "name", "declared_units", "unit", "epsilon", "delta", "ledger_head",
        "crash_reserve",
    }  # fmt: skip
    assert set(_encoded(UPDATE)["fedpeft"]) == {
        "message", "protocol", "request_id", "ledger_head", "kind", "noise_multiplier", "sampling_rate",
        "steps", "unit",
    }  # fmt: skip
    assert set(_encoded(UPDATE)) == {"fedpeft", "vector"}
    assert set(_encoded(METRIC)["fedpeft"]) == set(_encoded(UPDATE)["fedpeft"]) | {"correct", "declared"}
    assert set(_encoded(METRIC)) == {"fedpeft"}
    assert set(messages.encode_consent()["fedpeft"]) == {"message", "protocol"}
    assert set(messages.encode_refusal(RefusalCode.BUDGET)["fedpeft"]) == {"message", "protocol", "code"}


class TestVector:
    def test_is_one_array_of_raw_float32(self):
        (array,) = _encoded(UPDATE)["vector"].values()
        assert (array.dtype, array.shape, len(array.data)) == ("float32", (6,), 24)

    def test_cannot_be_changed_by_the_reader(self):
        assert not messages.decode_request(_encoded(REQUEST)).adapter.flags.writeable

    @pytest.mark.parametrize(("value", "decode"), WITH_VECTOR, ids=WITH_VECTOR_IDS)
    def test_content_is_freed_when_it_was_read(self, value, decode):
        """A cycle in it would hold a vector for every site until the garbage collector runs."""
        content = _encoded(value)
        seen = weakref.ref(content)
        gc.collect()
        gc.disable()
        try:
            decode(content)
            del content
            assert seen() is None
        finally:
            gc.enable()

    def test_request_records_may_be_shared(self):
        shared = messages.encode_vector(VECTOR)
        first, second = (messages.encode_request(REQUEST, shared) for _ in range(2))
        assert first["vector"]["vector"].data is second["vector"]["vector"].data

    @pytest.mark.parametrize("wire_type", ["float16", "bfloat16"])
    def test_of_two_bytes_arrive_as_they_were_rounded(self, wire_type):
        rounded = widen(narrow(VECTOR, wire_type), wire_type)
        request = replace(REQUEST, wire_type=wire_type)
        array = messages.encode_vector(VECTOR, wire_type)
        assert len(array["vector"].data) == 2 * len(VECTOR)
        arrived = messages.decode_request(_sent(messages.encode_request(request, array)))
        assert _same(arrived, replace(request, adapter=rounded))
        update = messages.decode_update(_sent(messages.encode_update(UPDATE, wire_type)))
        assert _same(update, replace(UPDATE, values=rounded))
        assert not update.values.flags.writeable

    @pytest.mark.parametrize("wire_type", ["float16", "bfloat16"])
    def test_of_two_bytes_are_for_rounds_only(self, wire_type):
        content = messages.encode_evaluate(EVALUATE, messages.encode_vector(VECTOR, wire_type))
        assert _code(messages.decode_evaluate, content) == (RefusalCode.MALFORMED, "dtype")

    @pytest.mark.parametrize(
        "array",
        [
            Array("float16", (6,), "fedpeft.float32.little-endian", bytes(24)),
            Array("float16", (6,), "fedpeft.float16.little-endian", bytes(24)),
            Array("float8", (24,), "fedpeft.float8.little-endian", bytes(24)),
            Array("float64", (3,), "fedpeft.float32.little-endian", bytes(24)),
            Array("float32", (5,), "fedpeft.float32.little-endian", bytes(24)),
            Array("float32", (6, 1), "fedpeft.float32.little-endian", bytes(24)),
            Array("float32", (), "fedpeft.float32.little-endian", bytes(4)),
            Array("float32", (6,), "fedpeft.float32.little-endian", bytes(23)),
            Array("float32", (10**12,), "fedpeft.float32.little-endian", bytes(24)),
            Array(np.zeros(6, np.float32)),  # numpy's format has a header of its own to be fooled by
            Array(np.zeros(6, np.float64)),
        ],
    )
    @pytest.mark.parametrize(("value", "decode"), WITH_VECTOR, ids=WITH_VECTOR_IDS)
    def test_another_dtype_shape_or_format_is_refused(self, value, decode, array):
        content = _encoded(value)
        content["vector"] = ArrayRecord({"vector": array})
        assert _code(decode, content)[0] is RefusalCode.MALFORMED

    @pytest.mark.parametrize(("value", "decode"), WITH_VECTOR, ids=WITH_VECTOR_IDS)
    def test_must_be_there_and_alone(self, value, decode):
        content = _encoded(value)
        (array,) = content["vector"].values()
        for record in (
            ArrayRecord(),
            ArrayRecord({"vector": array, "more": array}),
            ArrayRecord({"other": array}),
        ):
            content["vector"] = record
            assert _code(decode, content) == (RefusalCode.MALFORMED, "arrays")
        del content["vector"]
        assert _code(decode, content) == (RefusalCode.MALFORMED, "records")


class TestSchedule:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("steps", [60]),
            ("steps", [60, 3, 1]),
            ("steps", [60.0, 3.0]),
            ("steps", [True, True]),
            ("vote_stages", [1, 2]),
            ("vote_multipliers", [6.5]),
            ("vote_multipliers", [6, 7]),
            ("vote_releases", [1]),
            ("vote_releases", [1.0, 2.0]),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, field, value):
        content = _encoded(SCHEDULE)
        content["fedpeft"][field] = value
        assert _code(messages.decode_schedule, content) == (RefusalCode.MALFORMED, field)

    def test_a_run_without_votes_arrives(self):
        plain = replace(SCHEDULE, votes=())
        assert messages.decode_schedule(_sent(_encoded(plain))) == plain


@pytest.mark.parametrize("dimension", [0, -2, 4, 5])
def test_bins_that_are_no_table_are_refused(dimension):
    content = _encoded(VOTE)
    content["fedpeft"]["dimension"] = dimension
    assert _code(messages.decode_vote, content) == (RefusalCode.MALFORMED, "dimension")


class TestRefusal:
    @pytest.mark.parametrize("code", RefusalCode)
    @pytest.mark.parametrize(
        "decode",
        [messages.decode_facts, messages.decode_consent, messages.decode_update, messages.decode_histogram],
    )
    def test_a_site_may_refuse_with_every_code(self, code, decode):
        assert _code(decode, _sent(messages.encode_refusal(code)))[0] is code

    @pytest.mark.parametrize(
        "decode",
        [messages.decode_request, messages.decode_schedule, messages.decode_describe, messages.decode_vote],
    )
    def test_a_coordinator_has_nothing_to_refuse(self, decode):
        assert _code(decode, messages.encode_refusal(RefusalCode.BUDGET)) == (
            RefusalCode.MALFORMED,
            "message",
        )

    def test_a_text_is_no_code(self):
        content = messages.encode_refusal(RefusalCode.BUDGET)
        content["fedpeft"]["code"] = "CUDA out of memory while reading patient 17"
        assert _code(messages.decode_update, content) == (RefusalCode.MALFORMED, "code")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/passwd"}, {"name": "a/b"}, {"name": ""}, {"name": ".hidden"}, {"name": "a" * 65},
        {"name": "north\n"}, {"declared_units": 0}, {"declared_units": -5}, {"epsilon": -1e-9},
        {"epsilon": -1.0}, {"delta": -1e-9}, {"delta": 1.0}, {"unit": "a\nb"}, {"ledger_head": "x" * 300},
    ],
)  # fmt: skip
def test_facts_out_of_range_are_refused(change):
    content = _encoded(FACTS)
    content["fedpeft"].update(change)
    assert _code(messages.decode_facts, content) == (RefusalCode.MALFORMED, next(iter(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "laplace"}, {"kind": ""}, {"noise_multiplier": 0.0}, {"noise_multiplier": -1.0},
        {"steps": 0}, {"sampling_rate": 0.0}, {"sampling_rate": 1.5}, {"ledger_head": "line\nbreak"},
    ],
)  # fmt: skip
def test_an_event_that_no_accountant_could_compose_is_refused(change):
    content = _encoded(UPDATE)
    content["fedpeft"].update(change)
    assert _code(messages.decode_update, content)[0] is RefusalCode.MALFORMED


def test_numpy_scalars_are_sent_as_plain_numbers():
    facts = SiteFacts("north", np.int64(5), "record", np.float64(8.0), np.float64(1e-5), "ab")
    assert messages.decode_facts(_sent(messages.encode_facts(facts))) == SiteFacts(
        "north", 5, "record", 8.0, 1e-5, "ab"
    )


def test_describe_and_consent_arrive():
    messages.decode_describe(_sent(messages.encode_describe()))
    messages.decode_consent(_sent(messages.encode_consent()))
    assert _code(messages.decode_describe, messages.encode_consent())[0] is RefusalCode.MALFORMED
