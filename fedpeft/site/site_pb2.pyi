from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_POISSON_GAUSSIAN: _ClassVar[EventKind]
    EVENT_KIND_GAUSSIAN: _ClassVar[EventKind]

class RefusalCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_CODE_UNSPECIFIED: _ClassVar[RefusalCode]
    REFUSAL_CODE_BUDGET: _ClassVar[RefusalCode]
    REFUSAL_CODE_POLICY: _ClassVar[RefusalCode]
    REFUSAL_CODE_EXPIRED: _ClassVar[RefusalCode]
    REFUSAL_CODE_PROTOCOL: _ClassVar[RefusalCode]
    REFUSAL_CODE_MALFORMED: _ClassVar[RefusalCode]
    REFUSAL_CODE_REPLAY: _ClassVar[RefusalCode]
    REFUSAL_CODE_ROLLBACK: _ClassVar[RefusalCode]
    REFUSAL_CODE_UNAVAILABLE: _ClassVar[RefusalCode]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_POISSON_GAUSSIAN: EventKind
EVENT_KIND_GAUSSIAN: EventKind
REFUSAL_CODE_UNSPECIFIED: RefusalCode
REFUSAL_CODE_BUDGET: RefusalCode
REFUSAL_CODE_POLICY: RefusalCode
REFUSAL_CODE_EXPIRED: RefusalCode
REFUSAL_CODE_PROTOCOL: RefusalCode
REFUSAL_CODE_MALFORMED: RefusalCode
REFUSAL_CODE_REPLAY: RefusalCode
REFUSAL_CODE_ROLLBACK: RefusalCode
REFUSAL_CODE_UNAVAILABLE: RefusalCode

class DescribeRequest(_message.Message):
    __slots__ = ("protocol",)
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    def __init__(self, protocol: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "stage", "unit", "sampling_rate", "parts", "votes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_RATE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    stage: str
    unit: str
    sampling_rate: float
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    votes: _containers.RepeatedCompositeFieldContainer[Votes]
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., stage: _Optional[str] = ..., unit: _Optional[str] = ..., sampling_rate: _Optional[float] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., votes: _Optional[_Iterable[_Union[Votes, _Mapping]]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("noise_multiplier", "steps")
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    noise_multiplier: float
    steps: int
    def __init__(self, noise_multiplier: _Optional[float] = ..., steps: _Optional[int] = ...) -> None: ...

class Votes(_message.Message):
    __slots__ = ("stage", "noise_multiplier", "releases")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    stage: str
    noise_multiplier: float
    releases: int
    def __init__(self, stage: _Optional[str] = ..., noise_multiplier: _Optional[float] = ..., releases: _Optional[int] = ...) -> None: ...

class TrainRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "request_id", "round_number", "local_steps", "learning_rate", "noise_multiplier", "sampling_rate", "scales", "clipping", "layout_digest", "adapter", "ledger_head", "task_weights", "stage", "rank")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_RATE_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    CLIPPING_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    TASK_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    request_id: str
    round_number: int
    local_steps: int
    learning_rate: float
    noise_multiplier: float
    sampling_rate: float
    scales: _containers.RepeatedScalarFieldContainer[float]
    clipping: str
    layout_digest: str
    adapter: bytes
    ledger_head: str
    task_weights: _containers.RepeatedCompositeFieldContainer[TaskWeight]
    stage: str
    rank: int
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., request_id: _Optional[str] = ..., round_number: _Optional[int] = ..., local_steps: _Optional[int] = ..., learning_rate: _Optional[float] = ..., noise_multiplier: _Optional[float] = ..., sampling_rate: _Optional[float] = ..., scales: _Optional[_Iterable[float]] = ..., clipping: _Optional[str] = ..., layout_digest: _Optional[str] = ..., adapter: _Optional[bytes] = ..., ledger_head: _Optional[str] = ..., task_weights: _Optional[_Iterable[_Union[TaskWeight, _Mapping]]] = ..., stage: _Optional[str] = ..., rank: _Optional[int] = ...) -> None: ...

class TaskWeight(_message.Message):
    __slots__ = ("task", "weight")
    TASK_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    task: str
    weight: float
    def __init__(self, task: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class VoteRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "request_id", "noise_multiplier", "embedding", "neighbours", "dimension", "bins", "ledger_head")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    request_id: str
    noise_multiplier: float
    embedding: str
    neighbours: int
    dimension: int
    bins: bytes
    ledger_head: str
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., request_id: _Optional[str] = ..., noise_multiplier: _Optional[float] = ..., embedding: _Optional[str] = ..., neighbours: _Optional[int] = ..., dimension: _Optional[int] = ..., bins: _Optional[bytes] = ..., ledger_head: _Optional[str] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "request_id", "noise_multiplier", "layout_digest", "adapter", "ledger_head")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    request_id: str
    noise_multiplier: float
    layout_digest: str
    adapter: bytes
    ledger_head: str
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., request_id: _Optional[str] = ..., noise_multiplier: _Optional[float] = ..., layout_digest: _Optional[str] = ..., adapter: _Optional[bytes] = ..., ledger_head: _Optional[str] = ...) -> None: ...

class DeliverRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "layout_digest", "adapter", "result", "config", "rounds", "digest")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    layout_digest: str
    adapter: bytes
    result: bytes
    config: bytes
    rounds: bytes
    digest: str
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., layout_digest: _Optional[str] = ..., adapter: _Optional[bytes] = ..., result: _Optional[bytes] = ..., config: _Optional[bytes] = ..., rounds: _Optional[bytes] = ..., digest: _Optional[str] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("protocol", "facts", "consent", "update", "refusal", "histogram", "metric")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    facts: Facts
    consent: Consent
    update: Update
    refusal: RefusalCode
    histogram: Update
    metric: Metric
    def __init__(self, protocol: _Optional[int] = ..., facts: _Optional[_Union[Facts, _Mapping]] = ..., consent: _Optional[_Union[Consent, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., refusal: _Optional[_Union[RefusalCode, str]] = ..., histogram: _Optional[_Union[Update, _Mapping]] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...

class Facts(_message.Message):
    __slots__ = ("name", "declared_units", "unit", "epsilon", "delta", "ledger_head", "crash_reserve")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DECLARED_UNITS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    CRASH_RESERVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    declared_units: int
    unit: str
    epsilon: float
    delta: float
    ledger_head: bytes
    crash_reserve: int
    def __init__(self, name: _Optional[str] = ..., declared_units: _Optional[int] = ..., unit: _Optional[str] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., ledger_head: _Optional[bytes] = ..., crash_reserve: _Optional[int] = ...) -> None: ...

class Consent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Update(_message.Message):
    __slots__ = ("values", "event", "ledger_head")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    values: bytes
    event: Event
    ledger_head: bytes
    def __init__(self, values: _Optional[bytes] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., ledger_head: _Optional[bytes] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("correct", "declared", "event", "ledger_head")
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_HEAD_FIELD_NUMBER: _ClassVar[int]
    correct: float
    declared: float
    event: Event
    ledger_head: bytes
    def __init__(self, correct: _Optional[float] = ..., declared: _Optional[float] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., ledger_head: _Optional[bytes] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "noise_multiplier", "sampling_rate", "steps", "unit")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_RATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    kind: EventKind
    noise_multiplier: float
    sampling_rate: float
    steps: int
    unit: str
    def __init__(self, kind: _Optional[_Union[EventKind, str]] = ..., noise_multiplier: _Optional[float] = ..., sampling_rate: _Optional[float] = ..., steps: _Optional[int] = ..., unit: _Optional[str] = ...) -> None: ...
