import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from tracestatus.v1 import trace_pb2 as _trace_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LineageDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINEAGE_DIRECTION_UNSPECIFIED: _ClassVar[LineageDirection]
    LINEAGE_DIRECTION_UPSTREAM: _ClassVar[LineageDirection]
    LINEAGE_DIRECTION_DOWNSTREAM: _ClassVar[LineageDirection]
LINEAGE_DIRECTION_UNSPECIFIED: LineageDirection
LINEAGE_DIRECTION_UPSTREAM: LineageDirection
LINEAGE_DIRECTION_DOWNSTREAM: LineageDirection

class CreateRequest(_message.Message):
    __slots__ = ("event", "trace_id", "expire_time")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    event: _trace_pb2.TraceEvent
    trace_id: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, event: _Optional[_Union[_trace_pb2.TraceEvent, _Mapping]] = ..., trace_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("trace", "event")
    TRACE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    event: _trace_pb2.TraceEvent
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ..., event: _Optional[_Union[_trace_pb2.TraceEvent, _Mapping]] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("event", "expected_sequence", "new_run", "expire_time")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEW_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    event: _trace_pb2.TraceEvent
    expected_sequence: int
    new_run: bool
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, event: _Optional[_Union[_trace_pb2.TraceEvent, _Mapping]] = ..., expected_sequence: _Optional[int] = ..., new_run: bool = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("trace", "event")
    TRACE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    event: _trace_pb2.TraceEvent
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ..., event: _Optional[_Union[_trace_pb2.TraceEvent, _Mapping]] = ...) -> None: ...

class BatchUpdateRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[UpdateRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[UpdateRequest, _Mapping]]] = ...) -> None: ...

class BatchUpdateResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchUpdateResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchUpdateResult, _Mapping]]] = ...) -> None: ...

class BatchUpdateResult(_message.Message):
    __slots__ = ("trace_event_id", "sequence", "record_time", "error", "reason", "field_violations", "recorded_before")
    TRACE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    trace_event_id: str
    sequence: int
    record_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    reason: str
    field_violations: _containers.RepeatedCompositeFieldContainer[FieldViolation]
    recorded_before: bool
    def __init__(self, trace_event_id: _Optional[str] = ..., sequence: _Optional[int] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., reason: _Optional[str] = ..., field_violations: _Optional[_Iterable[_Union[FieldViolation, _Mapping]]] = ..., recorded_before: bool = ...) -> None: ...

class FieldViolation(_message.Message):
    __slots__ = ("field", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    description: str
    def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("trace_id", "step_id")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    step_id: str
    def __init__(self, trace_id: _Optional[str] = ..., step_id: _Optional[str] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("trace",)
    TRACE_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ...) -> None: ...

class GetTraceRequest(_message.Message):
    __slots__ = ("trace_id", "page_size", "page_token", "after_sequence")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    page_size: int
    page_token: str
    after_sequence: int
    def __init__(self, trace_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class GetTraceResponse(_message.Message):
    __slots__ = ("trace", "events", "next_page_token")
    TRACE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    events: _containers.RepeatedCompositeFieldContainer[_trace_pb2.TraceEvent]
    next_page_token: str
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ..., events: _Optional[_Iterable[_Union[_trace_pb2.TraceEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetByPathRequest(_message.Message):
    __slots__ = ("s3_path", "domain", "domain_id")
    S3_PATH_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    s3_path: str
    domain: str
    domain_id: str
    def __init__(self, s3_path: _Optional[str] = ..., domain: _Optional[str] = ..., domain_id: _Optional[str] = ...) -> None: ...

class GetByPathResponse(_message.Message):
    __slots__ = ("trace", "trace_ids")
    TRACE_FIELD_NUMBER: _ClassVar[int]
    TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    trace_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ..., trace_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamTraceRequest(_message.Message):
    __slots__ = ("trace_id", "s3_path", "after_sequence", "after_event_id", "wait_for_trace", "new_only", "created_after")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    S3_PATH_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_TRACE_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    s3_path: str
    after_sequence: int
    after_event_id: str
    wait_for_trace: bool
    new_only: bool
    created_after: _timestamp_pb2.Timestamp
    def __init__(self, trace_id: _Optional[str] = ..., s3_path: _Optional[str] = ..., after_sequence: _Optional[int] = ..., after_event_id: _Optional[str] = ..., wait_for_trace: bool = ..., new_only: bool = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StreamTraceResponse(_message.Message):
    __slots__ = ("event", "checkpoint")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    event: _trace_pb2.TraceEvent
    checkpoint: Checkpoint
    def __init__(self, event: _Optional[_Union[_trace_pb2.TraceEvent, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("trace_id", "sequence", "caught_up", "done", "server_time", "read_time", "last_heard_time", "trace")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    sequence: int
    caught_up: bool
    done: bool
    server_time: _timestamp_pb2.Timestamp
    read_time: _timestamp_pb2.Timestamp
    last_heard_time: _timestamp_pb2.Timestamp
    trace: _trace_pb2.Trace
    def __init__(self, trace_id: _Optional[str] = ..., sequence: _Optional[int] = ..., caught_up: bool = ..., done: bool = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_heard_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ...) -> None: ...

class WaitTraceRequest(_message.Message):
    __slots__ = ("trace_id", "s3_path", "timeout", "wait_for_trace", "new_only", "created_after")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    S3_PATH_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_TRACE_FIELD_NUMBER: _ClassVar[int]
    NEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    s3_path: str
    timeout: _duration_pb2.Duration
    wait_for_trace: bool
    new_only: bool
    created_after: _timestamp_pb2.Timestamp
    def __init__(self, trace_id: _Optional[str] = ..., s3_path: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait_for_trace: bool = ..., new_only: bool = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WaitTraceResponse(_message.Message):
    __slots__ = ("trace",)
    TRACE_FIELD_NUMBER: _ClassVar[int]
    trace: _trace_pb2.Trace
    def __init__(self, trace: _Optional[_Union[_trace_pb2.Trace, _Mapping]] = ...) -> None: ...

class ListTracesRequest(_message.Message):
    __slots__ = ("domain", "domain_id", "user", "component", "status", "outcome", "created_after", "created_before", "updated_after", "updated_before", "page_size", "page_token")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    UPDATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    domain: str
    domain_id: str
    user: str
    component: str
    status: _trace_pb2.TraceStatus
    outcome: _trace_pb2.TraceEventStatus
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    updated_after: _timestamp_pb2.Timestamp
    updated_before: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, domain: _Optional[str] = ..., domain_id: _Optional[str] = ..., user: _Optional[str] = ..., component: _Optional[str] = ..., status: _Optional[_Union[_trace_pb2.TraceStatus, str]] = ..., outcome: _Optional[_Union[_trace_pb2.TraceEventStatus, str]] = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTracesResponse(_message.Message):
    __slots__ = ("traces", "next_page_token")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[_trace_pb2.Trace]
    next_page_token: str
    def __init__(self, traces: _Optional[_Iterable[_Union[_trace_pb2.Trace, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetLineageRequest(_message.Message):
    __slots__ = ("uri", "trace_id", "version", "direction", "max_depth", "max_edges", "page_size", "page_token")
    URI_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    MAX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_EDGES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    uri: str
    trace_id: str
    version: str
    direction: LineageDirection
    max_depth: int
    max_edges: int
    page_size: int
    page_token: str
    def __init__(self, uri: _Optional[str] = ..., trace_id: _Optional[str] = ..., version: _Optional[str] = ..., direction: _Optional[_Union[LineageDirection, str]] = ..., max_depth: _Optional[int] = ..., max_edges: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetLineageResponse(_message.Message):
    __slots__ = ("edges", "traces", "next_page_token", "truncated")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedCompositeFieldContainer[LineageEdge]
    traces: _containers.RepeatedCompositeFieldContainer[LineageTrace]
    next_page_token: str
    truncated: bool
    def __init__(self, edges: _Optional[_Iterable[_Union[LineageEdge, _Mapping]]] = ..., traces: _Optional[_Iterable[_Union[LineageTrace, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., truncated: bool = ...) -> None: ...

class LineageEdge(_message.Message):
    __slots__ = ("trace_id", "written", "dataset", "sequence", "record_time", "depth")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    written: bool
    dataset: _trace_pb2.Dataset
    sequence: int
    record_time: _timestamp_pb2.Timestamp
    depth: int
    def __init__(self, trace_id: _Optional[str] = ..., written: bool = ..., dataset: _Optional[_Union[_trace_pb2.Dataset, _Mapping]] = ..., sequence: _Optional[int] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., depth: _Optional[int] = ...) -> None: ...

class LineageTrace(_message.Message):
    __slots__ = ("trace_id", "domain", "domain_id", "trace_status", "trace_event_status", "done", "create_time", "finish_time", "component")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_EVENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    domain: str
    domain_id: str
    trace_status: _trace_pb2.TraceStatus
    trace_event_status: _trace_pb2.TraceEventStatus
    done: bool
    create_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    component: str
    def __init__(self, trace_id: _Optional[str] = ..., domain: _Optional[str] = ..., domain_id: _Optional[str] = ..., trace_status: _Optional[_Union[_trace_pb2.TraceStatus, str]] = ..., trace_event_status: _Optional[_Union[_trace_pb2.TraceEventStatus, str]] = ..., done: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., component: _Optional[str] = ...) -> None: ...
