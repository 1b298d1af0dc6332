# SPDX-License-Identifier: Apache-2.0
"""The egress contract: every field of an answer is on the list below; the generated code is of this file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from fedpeft.site import site_pb2 as pb
from fedpeft.site import wire
from fedpeft.types import RefusalCode

ROOT = Path(__file__).parents[2]
PROTO = "fedpeft/site/site.proto"

MAY_LEAVE = {
    "protocol": "our own version",
    "facts.name": "policy",
    "facts.declared_units": "policy",
    "facts.unit": "policy",
    "facts.epsilon": "policy and ledger",
    "facts.delta": "policy and ledger",
    "facts.ledger_head": "ledger",
    "facts.crash_reserve": "policy",
    "update.values": "released by the mechanism",
    "update.event.kind": "asked for",
    "update.event.noise_multiplier": "asked for",
    "update.event.sampling_rate": "asked for",
    "update.event.steps": "asked for",
    "update.event.unit": "policy",
    "update.ledger_head": "ledger",
    "histogram.values": "released by the mechanism",
    "histogram.event.kind": "asked for",
    "histogram.event.noise_multiplier": "asked for",
    "histogram.event.sampling_rate": "asked for",
    "histogram.event.steps": "asked for",
    "histogram.event.unit": "policy",
    "histogram.ledger_head": "ledger",
    "metric.correct": "released by the mechanism",
    "metric.declared": "policy and public share",
    "metric.event.kind": "asked for",
    "metric.event.noise_multiplier": "asked for",
    "metric.event.sampling_rate": "asked for",
    "metric.event.steps": "asked for",
    "metric.event.unit": "policy",
    "metric.ledger_head": "ledger",
    "refusal": "an enumeration",
}
TEXTS = {"facts.name", "facts.unit", "update.event.unit", "histogram.event.unit", "metric.event.unit"}
"""Constants of the policy; everything else is a number, a digest or the noised vector."""


def _fields(message: Descriptor, prefix: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    for field in message.fields:
        if field.message_type is None:
            yield prefix + field.name, field
        else:
            yield from _fields(field.message_type, f"{prefix}{field.name}.")


def test_nothing_but_this_list_can_leave() -> None:
    fields = dict(_fields(pb.Reply.DESCRIPTOR))
    assert set(fields) == set(MAY_LEAVE)
    assert {name for name, field in fields.items() if field.type == field.TYPE_STRING} == TEXTS


def test_every_method_answers_with_a_reply() -> None:
    methods = pb.DESCRIPTOR.services_by_name["Site"].methods
    assert {method.name for method in methods} == {
        wire.DESCRIBE,
        wire.COMMIT,
        wire.TRAIN,
        wire.VOTE,
        wire.EVALUATE,
        wire.DELIVER,
    }
    assert {method.output_type.full_name for method in methods} == {pb.Reply.DESCRIPTOR.full_name}
    assert all("protocol" in method.input_type.fields_by_name for method in methods)
    assert pb.DESCRIPTOR.services_by_name["Site"].full_name == wire.SERVICE


def test_the_codes_are_those_of_the_package() -> None:
    names = {name.removeprefix("REFUSAL_CODE_") for name in pb.RefusalCode.keys()}  # noqa: SIM118 - no mapping
    assert names == {code.name for code in RefusalCode} | {"UNSPECIFIED"}


def test_the_generated_code_is_of_this_file(tmp_path: Path) -> None:
    """To renew it, run the command that stands in the file."""
    out = tmp_path / "site.descriptor"
    assert protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", str(ROOT / PROTO)]) == 0
    (made,) = FileDescriptorSet.FromString(out.read_bytes()).file
    committed = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(committed)
    made.ClearField("source_code_info")
    for file in (made, committed):
        for field in (f for m in file.message_type for f in m.field):
            field.ClearField("json_name")
    assert made == committed
