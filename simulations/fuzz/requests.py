# SPDX-License-Identifier: Apache-2.0
"""Requests that no honest coordinator sends, drawn with knowledge of the schema, and what became of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from fedpeft.site import site_pb2 as pb
from fedpeft.site import wire
from fedpeft.site.remote import RemoteSite
from simulations.fuzz.organization import Watch

_OF_METHOD: dict[str, Callable[[], Any]] = {
    wire.DESCRIBE: pb.DescribeRequest,
    wire.COMMIT: pb.CommitRequest,
    wire.TRAIN: pb.TrainRequest,
    wire.VOTE: pb.VoteRequest,
    wire.EVALUATE: pb.EvaluateRequest,
    wire.DELIVER: pb.DeliverRequest,
}
_PARTS = {
    "Votes": [pb.Votes(), pb.Votes(stage="synthesis", noise_multiplier=float("nan"), releases=-1)],
    "Part": [
        pb.Part(),
        pb.Part(noise_multiplier=float("nan"), steps=-1),
        pb.Part(noise_multiplier=1, steps=1),
    ],
    "TaskWeight": [pb.TaskWeight(), pb.TaskWeight(task="x", weight=float("inf"))],
}
_TEXTS = [
    "", "x" * 5000, "../../x", "/etc/passwd", "\0", "\u202e", "run", "run:site0:2", "filter", "run\n",
    "seeded-1", "'; DROP TABLE events", "training", "{}", "0" * 64,
]  # fmt: skip
CHECK_EVERY = 100


def malformed(seed: int, sound: dict[str, bytes]) -> tuple[str, bytes]:
    """The request of that number: method and bytes.

    Args:
        seed: its number; the same gives the same request.
        sound: by method, a request that is served.
    """
    rng = random.Random(seed)
    method = rng.choice(list(sound))
    message = _OF_METHOD[method]()
    message.ParseFromString(sound[method])
    for _ in range(rng.randrange(1, 4)):
        _spoil(rng, message)
    data = bytearray(message.SerializeToString())
    for _ in range(rng.randrange(3) if data else 0):
        data[rng.randrange(min(len(data), 300))] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data) + 1) :]
    if rng.random() < 0.05:
        data += rng.randbytes(rng.randrange(40))
    if rng.random() < 0.05:
        method = rng.choice(list(sound))  # a message of another kind
    return method, bytes(data)


def _spoil(rng: random.Random, message: Any) -> None:
    """Set one field to a value that its type can hold and no honest request would have."""
    chosen = rng.choice(message.DESCRIPTOR.fields)
    values: dict[int, list[Any]] = {
        chosen.TYPE_DOUBLE: [0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324, 1.5],
        chosen.TYPE_INT64: [0, -1, 2**63 - 1, -(2**63), 10**6, 1],
        chosen.TYPE_UINT32: [0, 2, 2**32 - 1],
        chosen.TYPE_STRING: _TEXTS,
        chosen.TYPE_BYTES: [b"", b"\0", rng.randbytes(17), b"\xff" * 4000, b"[" * 9000, b'{"epsilon": NaN}'],
    }
    if chosen.type == chosen.TYPE_MESSAGE:
        values[chosen.type] = _PARTS[chosen.message_type.name]
    value = rng.choice(values[chosen.type])
    if chosen.is_repeated:
        items = getattr(message, chosen.name)
        del items[rng.randrange(len(items) + 1) :]
        items.extend([value] * rng.choice((0, 1, 2, 3, 2000)))
    else:
        setattr(message, chosen.name, value)


@dataclass
class Tally:
    """What came of it.

    Attributes:
        done: requests asked so far.
        answers: how often each kind came; of refusals, each code.
        broken: what must not be, one line each with the request's number.
    """

    done: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def prepare(remote: RemoteSite, sound: dict[str, bytes]) -> None:
    """Have the site serve each sound request once, which uses its budget up.

    Raises:
        RuntimeError: it refused one, so that what follows would show little.
    """
    with grpc.insecure_channel(remote._target) as channel:
        for method, data in sound.items():
            reply = pb.Reply.FromString(_ask(channel, method, data))
            if reply.WhichOneof("answer") == "refusal":
                raise RuntimeError(f"{method}: a sound request was refused with {reply.refusal}")


def fuzz(
    remote: RemoteSite,
    sound: dict[str, bytes],
    watch: Watch,
    until: int,
    tally: Tally,
    on_check: Callable[[], object] = lambda: None,
) -> None:
    """Ask requests up to the number ``until``, from where ``tally`` stands; it is brought up to date."""
    before, reads = watch.state(), watch.reads
    with grpc.insecure_channel(remote._target) as channel:
        while tally.done < until:
            method, data = malformed(tally.done, sound)
            tally.answers[_kind(channel, method, data, tally)] += 1
            tally.done += 1
            if tally.done % CHECK_EVERY and tally.done < until:
                continue
            if watch.state() != before:
                tally.broken.append(f"before {tally.done}: ledger or deliveries changed")
                before = watch.state()
            if watch.reads != reads:
                tally.broken.append(f"before {tally.done}: private data were read")
                reads = watch.reads
            tally.broken += [f"before {tally.done}: {failure}" for failure in watch.failures]
            watch.failures.clear()
            on_check()
    if not remote.is_healthy():
        tally.broken.append(f"after {tally.done}: the site does not serve")


def _kind(channel: grpc.Channel, method: str, data: bytes, tally: Tally) -> str:
    try:
        answer = _ask(channel, method, data)
    except grpc.RpcError as error:
        tally.broken.append(f"{tally.done}: {method}: {error.code().name} and no code of ours")
        return "status"
    reply = pb.Reply.FromString(answer)
    kind = reply.WhichOneof("answer")
    if kind != "refusal":
        return str(kind)
    if len(answer) > len(wire.encode_refusal(next(iter(wire._CODES))).SerializeToString()):
        tally.broken.append(f"{tally.done}: {method}: a refusal says more than its code")
    return str(pb.RefusalCode.Name(reply.refusal).removeprefix("REFUSAL_CODE_").lower())


def _ask(channel: grpc.Channel, method: str, data: bytes) -> bytes:
    answer: bytes = channel.unary_unary(f"/{wire.SERVICE}/{method}")(data, timeout=120)
    return answer
